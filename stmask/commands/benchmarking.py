"""The options that all benchmarks share, and what becomes of their results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stmask.commands.parsing import Parser

if TYPE_CHECKING:
    from stmask.benchmarks.record import Report
    from stmask.benchmarks.turns import Entry

_PRECISIONS = ("float32", "bfloat16", "float16")


def add_options(parser: Parser, *, repeats: int, unit: str) -> None:
    """What every benchmark takes.

    Args:
        repeats: default number of timed units of work.
        unit: of work, in the plural.
    """
    parser.add_argument("--repeats", type=int, default=repeats, metavar="N",
                        help=f"{unit} to time (default: %(default)s)")  # fmt: skip
    parser.add_argument("--json", metavar="F", help="write the measurements")
    parser.add_argument("--against", metavar="F", help="print ratios to the measurements of an earlier --json")
    parser.add_argument("--beside", metavar="FOLDER", help="also measure the package in this checkout, by turns; "
                        "tools/against_commit.sh makes one of an older commit")  # fmt: skip


def add_device(parser: Parser) -> None:
    """Where the work is done."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")


def add_network_options(parser: Parser, *, precision: bool = True) -> None:
    """What benchmarks of networks take besides."""
    if precision:
        add_device(parser)
        parser.add_argument("--precision", default=_PRECISIONS[0], metavar="TYPE",
                            help=f"of the network: {', '.join(_PRECISIONS)} (default: %(default)s)")  # fmt: skip
    parser.add_argument("--yardstick", action="store_true",
                        help="also time a bare ResNet-50 in between, and give times as multiples of it")  # fmt: skip
    parser.add_argument("--trust", action="append", default=[], metavar="NAME",
                        help="a class of your own that the checkpoint may name, such as mypkg.MyBackbone")  # fmt: skip


def run(kind: str, entries: Sequence[Entry], options: argparse.Namespace) -> Report:
    """Measures, prints and writes."""
    from stmask.benchmarks.record import Report
    from stmask.benchmarks.report import ratios, table
    from stmask.benchmarks.turns import measure
    from stmask.files import require_writable

    other = Report.read(options.against, kind=kind) if options.against else None
    if options.json:
        require_writable(options.json)
    report = measure(kind, entries, repeats=options.repeats, beside=options.beside)
    print(table(report))
    if other is not None:
        print("\n" + ratios(report, other))
    if options.json:
        report.write(options.json)
    return report
