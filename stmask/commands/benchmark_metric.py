"""`stmask benchmark metric`: time and memory of video AP, from files to the 12 metrics."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from stmask.commands.benchmarking import add_options, run
from stmask.commands.parsing import Parser

SUMMARY = "video AP on large files"


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark; see `stmask benchmark metric --help`."""
    from stmask.evaluation.synthetic import CASES

    parser = Parser(
        prog="stmask benchmark metric",
        description="Writes synthetic files and scores them, each case in a process of its own. Loading covers "
        "reading, checking and decoding every mask.",
    )
    cases = ", ".join(f"{n} ({c.videos} videos, {c.predictions} predictions each)" for n, c in CASES.items())
    parser.add_argument("cases", metavar="CASE", nargs="*", help=f"{cases}; default: all")
    parser.add_argument("--keep", metavar="DIR", help="keep the files there, and use them if they are there already")
    add_options(parser, repeats=5, unit="scorings")
    options = parser.parse_args(argv)

    from stmask.benchmarks.turns import Entry
    from stmask.errors import ConfigError
    from stmask.evaluation.synthetic import write_case

    names = options.cases or list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        raise ConfigError(f"no case {unknown[0]!r}, there are {', '.join(CASES)}")
    entries = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            folder = Path(options.keep or temporary) / name
            paths = folder / "gt.json", folder / "results.json"
            if not all(path.is_file() for path in paths):
                paths = write_case(CASES[name], folder)
            entries.append(Entry(name, {"truth": str(paths[0]), "results": str(paths[1])}))
        run("metric", entries, options)
    return 0
