"""`stmask benchmark data`: the speed of loading, the cost of an index."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from stmask.commands.parsing import Parser

SUMMARY = "pairs per second from JPEG files to batches, time and memory of large indexes"
_TRAIN_2019 = {"videos": 2238, "frames": 27, "tracks": 4883, "mask_bytes": 400}  # the size of YouTube-VIS 2019 train


def _parser() -> Parser:
    parser = Parser(prog="stmask benchmark data", description=SUMMARY)
    parser.add_argument("--pairs", type=int, default=80, metavar="N", help="to time (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=5, metavar="N", help="in each frame (default: %(default)s)")
    parser.add_argument("--index", action="store_true", help="also open an index of YouTube-VIS 2019 train's size")
    parser.add_argument("--videos", type=int, metavar="N", help="also open a cached index of so many videos")
    parser.add_argument(
        "--workers", type=int, default=4, metavar="N", help="that share an index (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Makes data in a temporary folder, measures and prints."""
    options = _parser().parse_args(argv)
    from stmask.data.benchmark import make_index, make_videos, measure_index, measure_loader

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_videos(root, videos=4, frames=10, objects=options.objects, height=720, width=1280)
        speed = measure_loader(root, height=360, width=640, pairs=options.pairs)
        print(
            f"1280 x 720 JPEG, {options.objects} objects, to 640 x 360: {speed.pairs_per_second:.1f} pairs/s and core"
        )
        whole = sum(speed.stage_ms.values())
        for stage, milliseconds in speed.stage_ms.items():
            print(f"  {stage:<26}{milliseconds:6.1f} ms {milliseconds / whole:6.0%}")
        if options.index:
            make_index(root / "train.json", **_TRAIN_2019)
            _print(
                "YouTube-VIS 2019 train's size, from JSON", measure_index(root / "train.json", workers=options.workers)
            )
        if options.videos:
            path, cache = root / "large.json", root / "cache"
            make_index(path, videos=options.videos, frames=27, tracks=options.videos)
            _print(f"{options.videos} videos, from JSON", measure_index(path, cache=cache, workers=0))
            _print(f"{options.videos} videos, cached", measure_index(path, cache=cache, workers=options.workers))
    return 0


def _print(title: str, cost: object) -> None:
    from stmask.data.benchmark import IndexCost

    assert isinstance(cost, IndexCost)
    memory = "" if cost.memory_mb is None else f", {cost.memory_mb:.0f} MB"
    print(f"{title}: {cost.seconds:.2f} s{memory}")
    if cost.worker_mb:
        print("  private memory of each worker: " + ", ".join(f"{mb:.1f}" for mb in cost.worker_mb) + " MB")
