"""`stmask benchmark predict VIDEO CHECKPOINT_OR_RUN ...`: a video file from end to end."""

from __future__ import annotations

from collections.abc import Sequence

from stmask.commands.benchmarking import add_network_options, add_options, run
from stmask.commands.parsing import Parser

SUMMARY = "a video from end to end: decoding, network, masks, drawing, encoding"


def _parser() -> Parser:
    parser = Parser(
        prog="stmask benchmark predict",
        description="Times whole runs of what `stmask predict` does, divided by the video's frames.",
    )
    parser.add_argument("video", metavar="VIDEO", help="a video or a folder of frames")
    parser.add_argument("places", metavar="CHECKPOINT_OR_RUN", nargs="+", help="a file of weights, or a run's folder")
    parser.add_argument("--results-only", action="store_true", help="write no video, only the results")
    add_options(parser, repeats=5, unit="runs over the video")
    add_network_options(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask benchmark predict --help`."""
    options = _parser().parse_args(argv)

    from stmask.benchmarks.turns import Entry
    from stmask.checkpoint_path import checkpoint_path

    shared = {
        "video": options.video,
        "drawn": not options.results_only,
        "device": options.device,
        "precision": options.precision,
        "yardstick": options.yardstick,
        "trust": options.trust,
    }
    entries = [Entry(place, {"checkpoint": str(checkpoint_path(place)), **shared}) for place in options.places]
    run("predict", entries, options)
    return 0
