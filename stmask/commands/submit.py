"""`stmask submit`: packs results for an evaluation server, or checks a packed file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stmask.commands.parsing import Parser

SUMMARY = "pack a results.json for an evaluation server, or check a packed one"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask submit --help`."""
    parser = Parser(
        prog="stmask submit",
        description="Checks a results.json and writes the zip that evaluation servers take: results.json at its root, "
        "one entry per track, one mask or null per frame, masks at the video's size with their counts as text.",
    )
    parser.add_argument("file", metavar="FILE", help="a results.json, or with --check a zip")
    parser.add_argument("--check", action="store_true", help="only check FILE, a zip")
    parser.add_argument("--ground-truth", metavar="GT.json", help="the split's file; it needs no annotations")
    parser.add_argument("--output", metavar="ZIP", help="the zip to write (default: FILE with the ending .zip)")
    options = parser.parse_args(argv)

    from stmask.evaluation.ground_truth import GroundTruth
    from stmask.evaluation.submission import check_submission, write_submission
    from stmask.files import require_distinct

    truth = GroundTruth.load(options.ground_truth) if options.ground_truth else None
    if options.check:
        print(f"{options.file} is a valid submission:", check_submission(options.file, truth).text(), sep="\n")
        return 0
    output = options.output or Path(options.file).with_suffix(".zip")
    if options.ground_truth:
        require_distinct(output, options.ground_truth)
    summary = write_submission(options.file, output, truth)
    print(f"written: {output}", summary.text(), sep="\n")
    return 0
