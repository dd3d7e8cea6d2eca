"""`stmask benchmark inference CHECKPOINT_OR_RUN ...`: frames per second, several networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stmask.commands.parsing import Parser

if TYPE_CHECKING:
    from stmask.experiments.speed import Speed

SUMMARY = "frames per second of trained networks, side by side"


def _parser() -> Parser:
    from stmask.experiments.speed import FRAMES, PRECISIONS

    parser = Parser(
        prog="stmask benchmark inference",
        description="Times one frame after the other, from an RGB frame in memory at the network's input size to "
        "tracked instances with masks at the prototypes' resolution: normalising, copy to the device, network, "
        "detection, suppression, masks, tracking. Not in it: decoding, resizing, masks at the video's size, drawing. "
        "Several networks take turns after every clip of 25 frames. A run's speed goes to its fps.json.",
    )
    parser.add_argument("places", metavar="CHECKPOINT_OR_RUN", nargs="+", help="a file of weights, or a run's folder")
    parser.add_argument("--frames", type=int, default=FRAMES, metavar="N", help="to time (default: %(default)s)")
    parser.add_argument("--frames-from", metavar="PLACE", help="a video or a folder of frames; default: the videos "
                        "that the first network was validated with")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--precision", default=PRECISIONS[0], metavar="TYPE",
                        help=f"of the network: {', '.join(PRECISIONS)} (default: %(default)s)")  # fmt: skip
    parser.add_argument("--against", metavar="CHECKPOINT", help="the network to compare with; default: the first one")
    parser.add_argument("--yardstick", action="store_true",
                        help="also time a bare ResNet-50 in between, and give all times as its multiples")  # fmt: skip
    parser.add_argument("--json", metavar="F", help="write the measurements")
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask benchmark inference --help`."""
    options = _parser().parse_args(argv)

    from stmask.errors import ConfigError
    from stmask.experiments.benchmark import file_clips, load_networks, validation_clips
    from stmask.experiments.speed import write_speed
    from stmask.experiments.timing import Yardstick, measure
    from stmask.files import require_writable, write_json

    if options.frames < 1:
        raise ConfigError(f"--frames must be at least 1, got {options.frames}")
    places = [*([options.against] if options.against else []), *options.places]
    if options.json:
        require_writable(options.json)
    given = file_clips(options.frames_from, frames=options.frames) if options.frames_from is not None else None
    networks = load_networks(places, device=options.device, precision=options.precision)
    clips = given or validation_clips(networks[0], frames=options.frames, source=places[0])
    yardstick = Yardstick(networks[0].device) if options.yardstick else None
    speeds = measure(
        networks, clips, precision=options.precision, on_clip=(lambda: None) if yardstick is None else yardstick.add
    )
    unit = None if yardstick is None else yardstick.milliseconds
    print(_table(places, speeds, yardstick=unit))
    for place, speed in list(zip(places, speeds, strict=True))[-len(options.places) :]:
        if Path(place).is_dir():
            write_speed(place, speed)
    if options.json:
        measured = [{"network": place, **speed.to_dict()} for place, speed in zip(places, speeds, strict=True)]
        write_json(options.json, {"yardstick_milliseconds": unit, "networks": measured}, indent=1)
    return 0


def _table(places: Sequence[str], speeds: Sequence[Speed], *, yardstick: float | None) -> str:
    """The speeds, a network a line; times as multiples of the first network's, and of the yardstick's."""
    from rich.table import Table

    from stmask.evaluation.report import render

    heads = ["input", "ms", "10 %", "90 %", "FPS", "objects", "against the first"]
    if yardstick is not None:
        heads.append("yardsticks")
    shown = Table("network", box=None, pad_edge=False)
    for head in heads:
        shown.add_column(head, justify="right")
    for place, speed in zip(places, speeds, strict=True):
        cells = [
            f"{speed.width} x {speed.height}",
            *(f"{value:.1f}" for value in (speed.milliseconds, speed.p10, speed.p90, speed.fps, speed.objects)),
            f"{speed.milliseconds / speeds[0].milliseconds:.2f}",
        ]
        if yardstick is not None:
            cells.append(f"{speed.milliseconds / yardstick:.2f}")
        shown.add_row(place, *cells)
    lines = [f"{speeds[0].conditions}; {speeds[0].frames} frames, median, and what a tenth of them took less and more"]
    if yardstick is not None:
        lines.append(f"yardstick, ResNet-50 at 640 x 384 in float32: {yardstick:.1f} ms")
    return "\n".join([*lines, render(shown)])
