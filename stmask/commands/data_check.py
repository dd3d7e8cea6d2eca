"""`stmask data check ROOT`: what is wrong with a dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stmask.commands.parsing import Parser

SUMMARY = "read every annotation (and frame) of a dataset and report all problems at once"


def _parser() -> Parser:
    parser = Parser(
        prog="stmask data check",
        description=SUMMARY,
        epilog="Exit status: 0 if nothing stands in the way of training (unlabelled: predicting), 1 if not.",
        allow_abbrev=False,
    )
    parser.add_argument("root", metavar="ROOT", help="folder of the dataset, or one annotation file")
    parser.add_argument("--split", action="append", metavar="NAME", help="only this split (may be repeated)")
    parser.add_argument("--frames", action="store_true", help="decode every frame too")
    parser.add_argument("--frame-folder", metavar="DIR", help="the folder of frames, where it is not recognised")
    return parser


def main(argv: Sequence[str]) -> int:
    """Checks the splits and prints a report for each."""
    options = _parser().parse_args(argv)
    from stmask.data.check import check_split
    from stmask.data.layouts import find_annotations, known_splits

    root = Path(options.root)
    if root.is_file():
        files = [(root.stem, root)]
    else:
        splits = options.split or known_splits(root) or ["train"]
        files = [(split, find_annotations(root, split)) for split in splits]
    good = True
    for split, path in files:
        report = check_split(
            path,
            root=root.parent if root.is_file() else root,
            split=split,
            frames=Path(options.frame_folder) if options.frame_folder else None,
            read_frames=options.frames,
            threads=os.cpu_count() or 1,
        )
        print("\n".join(report.lines()))
        good &= report.usable
    return 0 if good else 1
