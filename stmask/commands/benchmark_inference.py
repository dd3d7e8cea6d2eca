"""`stmask benchmark inference CHECKPOINT_OR_RUN ...`: the time of a frame, several networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stmask.commands.benchmarking import add_network_options, add_options, run
from stmask.commands.parsing import Parser

SUMMARY = "frames of a video through trained networks, side by side"


def _parser() -> Parser:
    from stmask.experiments.speed import FRAMES

    parser = Parser(
        prog="stmask benchmark inference",
        description="Times one frame after the other, from an RGB frame in memory at the network's input size to "
        "tracked instances with masks at the video's own size: normalising, copy to the device, network, detection, "
        "suppression, tracking, masks. Not in it: decoding, resizing the frame, drawing. "
        "Networks take turns. A run's speed goes to its fps.json.",
    )
    parser.add_argument("places", metavar="CHECKPOINT_OR_RUN", nargs="+", help="a file of weights, or a run's folder")
    parser.add_argument("--frames-from", metavar="PLACE", help="a video or a folder of frames; default: the videos "
                        "that the first network was validated with")  # fmt: skip
    parser.add_argument("--videos", type=int, default=1, metavar="N", help="that go through the network side by side "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--no-masks", action="store_true", help="stop at the tracked instances, before their masks are "
                        "made at the video's size")  # fmt: skip
    add_options(parser, repeats=FRAMES, unit="frames")
    add_network_options(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask benchmark inference --help`."""
    options = _parser().parse_args(argv)

    from stmask.checkpoint_path import checkpoint_path
    from stmask.experiments.benchmark import inference_entry, keep_speed

    first = checkpoint_path(options.places[0])
    entries = [
        inference_entry(
            place,
            device=options.device,
            precision=options.precision,
            frames_from=options.frames_from,
            validated_by=first,
            frames=options.repeats,
            videos=options.videos,
            masks=not options.no_masks,
            yardstick=options.yardstick,
            trust=options.trust,
        )
        for place in options.places
    ]
    report = run("inference", entries, options)
    for place, result in zip(options.places, report.results[-len(options.places) :]):
        if Path(place).is_dir() and options.beside is None and options.videos == 1 and not options.no_masks:
            keep_speed(place, result)
    return 0
