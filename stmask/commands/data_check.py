"""`stmask data check ROOT`: what is wrong with a dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stmask.commands.parsing import Parser
from stmask.errors import ConfigError, DataError, OutputError

if TYPE_CHECKING:
    from stmask.data.report import Report

SUMMARY = "read every annotation (and frame) of a dataset and report all problems at once"


def _parser() -> Parser:
    parser = Parser(
        prog="stmask data check",
        description=SUMMARY,
        epilog="Exit status: 0 if nothing stands in the way of training (unlabelled: predicting), 1 if not;"
        " with --fix, of training on the mended copy.",
    )
    parser.add_argument("root", metavar="ROOT", help="folder of the dataset, or one annotation file")
    parser.add_argument("--split", action="append", metavar="NAME", help="only this split (may be repeated)")
    parser.add_argument("--frames", action="store_true", help="decode every frame, not only some")
    parser.add_argument("--frame-folder", metavar="DIR", help="the folder of frames, where it is not recognised")
    parser.add_argument(
        "--fix",
        metavar="OUT",
        help="write a copy of the annotation file to OUT, mended where that takes no guess, and check it too",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Checks the splits and prints a report for each."""
    options = _parser().parse_args(argv)
    from stmask.data.check import check_split
    from stmask.data.layouts import find_annotations, known_splits
    from stmask.data.mend import mend_file
    from stmask.data.plausibility import compare_splits

    root = Path(options.root)
    if root.is_file():
        files = [(root.stem, root)]
    else:
        splits = list(dict.fromkeys(options.split or ())) or known_splits(root) or ["train"]
        files = [(split, find_annotations(root, split)) for split in splits]
    if options.fix is not None and len(files) > 1:
        raise ConfigError(f"--fix mends one file: choose by --split {' or '.join(split for split, _ in files)}")
    if options.fix is not None and os.path.lexists(options.fix):
        raise OutputError(f"{options.fix} is there already; a mended copy is not written over anything")

    def check(split: str, path: Path, frames: Path | None) -> Report:
        report = check_split(
            path,
            root=root.parent if root.is_file() else root,
            split=split,
            frames=frames,
            read_frames=options.frames,
            threads=os.cpu_count() or 1,
        )
        print("\n".join(report.lines()))
        return report

    folder = Path(options.frame_folder) if options.frame_folder else None
    reports = [(split, check(split, path, folder)) for split, path in files]
    for line in compare_splits(reports):
        print(line)
    if options.fix is not None:
        ((split, report),) = reports
        if report.dataset is None:
            raise DataError(f"{report.annotations} cannot be mended as long as it cannot be read")
        done = mend_file(report.annotations, Path(options.fix))
        print(f"mended in {options.fix}:" if done else f"nothing to mend, {options.fix} is a copy")
        for kind, count in done.items():
            print(f"  {kind}: {count}")
        reports = [(split, check(split, Path(options.fix), report.frames))]
    return 0 if all(report.usable for _, report in reports) else 1
