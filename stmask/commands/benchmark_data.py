"""`stmask benchmark data`: the speed of loading, the cost of an index."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from stmask.commands.benchmarking import add_options, run
from stmask.commands.parsing import Parser

SUMMARY = "training pairs from JPEG files to batches; opening large indexes"
_TRAIN_2019 = {"videos": 2238, "frames": 27, "tracks": 4883, "mask_bytes": 400}  # the size of YouTube-VIS 2019 train


def _parser() -> Parser:
    parser = Parser(
        prog="stmask benchmark data",
        description="Pairs of frames of 1280 x 720 JPEG files to batches at 640 x 360, in processor time of one core; "
        "or the time and memory of opening an index.",
    )
    parser.add_argument("--objects", type=int, default=5, metavar="N", help="in each frame (default: %(default)s)")
    parser.add_argument("--index", action="store_true", help="open an index of YouTube-VIS 2019 train's size instead")
    parser.add_argument("--videos", type=int, metavar="N", help="open an index of so many videos instead, without and "
                        "with a cache")  # fmt: skip
    parser.add_argument("--workers", type=int, default=4, metavar="N",
                        help="that share an index (default: %(default)s)")  # fmt: skip
    add_options(parser, repeats=10, unit="batches, or openings,")
    return parser


def main(argv: Sequence[str]) -> int:
    """Makes data in a temporary folder, measures and prints."""
    options = _parser().parse_args(argv)
    from stmask.benchmarks.data import make_index, make_videos
    from stmask.benchmarks.turns import Entry

    with tempfile.TemporaryDirectory() as folder:
        root, entries = Path(folder), []
        if options.index:
            make_index(root / "train.json", **_TRAIN_2019)
            arguments = {"index": str(root / "train.json"), "workers": options.workers}
            entries.append(Entry("YouTube-VIS 2019 train's size", arguments))
        if options.videos:
            make_index(root / "large.json", videos=options.videos, frames=27, tracks=options.videos)
            arguments = {"index": str(root / "large.json"), "workers": options.workers}
            entries.append(Entry(f"{options.videos} videos", arguments))
            entries.append(Entry(f"{options.videos} videos, cached", {**arguments, "cache": str(root / "cache")}))
        if not entries:
            make_videos(root, videos=4, frames=10, objects=options.objects, height=720, width=1280)
            entries.append(Entry(f"{options.objects} objects", {"root": folder}))
        run("data", entries, options)
    return 0
