"""`stmask data split ROOT`: a labelled split in two."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stmask.commands.parsing import Parser

SUMMARY = "divide a labelled split in two by video"


def _parser() -> Parser:
    parser = Parser(
        prog="stmask data split",
        description=SUMMARY,
        epilog="The default is the authors' split: the first nine tenths of the videos to train on, the rest to test"
        " (data.train=train-sub data.valid=valid-sub).",
    )
    parser.add_argument("root", metavar="ROOT", help="folder of the dataset, or one annotation file")
    parser.add_argument("--split", default="train", metavar="NAME", help="what to divide (default: %(default)s)")
    parser.add_argument(
        "--ratio", default="9:1", metavar="A:B", help="such as 85:15 or 1904:334 (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="shuffle the videos first (default: the file's order)")
    parser.add_argument(
        "--names", nargs=2, default=("train-sub", "valid-sub"), metavar="NAME", help="(default: train-sub valid-sub)"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Writes two annotation files and prints their paths; what is in them goes to stderr."""
    options = _parser().parse_args(argv)
    from stmask.data.layouts import find_annotations
    from stmask.data.split import parse_ratio, split_file

    root = Path(options.root)
    path = root if root.is_file() else find_annotations(root, options.split)
    written = split_file(
        root.parent if root.is_file() else root,
        options.split,
        path,
        names=(options.names[0], options.names[1]),
        ratio=parse_ratio(options.ratio),
        seed=options.seed,
    )
    for part, lines in written.items():
        print(part)
        print(*(f"  {line}" for line in lines), sep="\n", file=sys.stderr)
    return 0
