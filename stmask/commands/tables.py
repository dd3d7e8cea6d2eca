"""`stmask tables [TABLE ...]`: writes the paper's tables beside what was measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stmask.commands.parsing import Parser

if TYPE_CHECKING:
    from stmask.experiments.collect import RunRecord
    from stmask.experiments.comparison import Comparison

SUMMARY = "the paper's tables beside the measured ones, from finished runs"
_RUNS, _OUTPUT = "runs", "experiments"


def _parser() -> Parser:
    parser = Parser(
        prog="stmask tables",
        description="Reads the folders of runs and writes OUTPUT/TABLE/results.csv and table.md: the paper's numbers, "
        "ours as mean and standard deviation over seeds, differences, training time, parameters, frames per second. "
        "Rows under different settings are never mixed, rows without runs are shown as missing.",
    )
    parser.add_argument("tables", metavar="TABLE", nargs="*", help="for example table4 (default: all)")
    parser.add_argument("--runs", metavar="FOLDER", nargs="+", help=f"searched with all below (default: {_RUNS})")
    parser.add_argument("--output", metavar="FOLDER", default=_OUTPUT, help="one folder for each table goes there "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="also runs of this project on W&B's server that are "
                        "in none of the folders")  # fmt: skip
    parser.add_argument("--fps", action="store_true", help="first measure the speed of runs that lack it, as `stmask "
                        "benchmark inference` does, and keep it in their folders")  # fmt: skip
    parser.add_argument("--bootstrap", action="store_true", help="write OUTPUT/synthetic instead: differences between "
                        "rows on the benchmark `bench`, with intervals, of the runs that were evaluated on it "
                        "(stmask evaluate checkpoint=RUN split=bench output=RUN/bench)")  # fmt: skip
    parser.add_argument("--device", default="auto", help="for --fps: auto, cpu, cuda or cuda:N (default: %(default)s)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask tables --help`."""
    options = _parser().parse_args(argv)

    from stmask.experiments.comparison import compare
    from stmask.experiments.report import write_comparison
    from stmask.experiments.rows import rows
    from stmask.experiments.wandb_runs import collect_project

    names = _names(options.tables)
    folders = [Path(folder) for folder in options.runs or ([_RUNS] if Path(_RUNS).is_dir() else [])]
    elsewhere, unreadable = collect_project(options.wandb) if options.wandb else ([], [])

    def compared() -> tuple[list[Comparison], list[str]]:
        records, problems = _collect(folders, elsewhere)
        return [compare(name, rows(name), records) for name in names], problems

    comparisons, problems = compared()
    if options.fps:
        _measure(comparisons, device=options.device)
        comparisons, problems = compared()
    for problem in (*unreadable, *problems):
        print(f"left out: {problem}", file=sys.stderr)
    if options.bootstrap:
        return _bootstrap(comparisons, Path(options.output))
    for comparison in comparisons:
        paths = write_comparison(Path(options.output) / comparison.table, comparison)
        print("\n".join([*_summary(comparison), f"  written: {', '.join(map(str, paths))}"]))
    return 0


def _bootstrap(comparisons: Sequence[Comparison], output: Path) -> int:
    from stmask.console import counted
    from stmask.experiments.bench_runs import read_bench
    from stmask.experiments.comparison import counted as runs_of
    from stmask.experiments.differences import Bootstrap
    from stmask.experiments.synthetic import FOLDER, lines_of, number_of_lines, table_markdown, write_synthetic

    bootstrap = Bootstrap()  # what it needs is asked for first
    with counted("runs", len(runs_of(comparisons))) as on_run:
        results = read_bench(comparisons, on_run=on_run)
    with counted("rows", number_of_lines(results)) as on_line:
        lines = lines_of(results, bootstrap, on_line=on_line)
    paths = write_synthetic(output / FOLDER, results, lines)
    print(table_markdown(results, lines))
    print(f"written: {', '.join(map(str, paths))}")
    return 0


def _names(given: Sequence[str]) -> list[str]:
    from stmask.experiments.rows import ALL_TABLES, BESIDES, rows, tables

    names = list(dict.fromkeys(given)) or [ALL_TABLES]
    chosen = [*tables(), *BESIDES] if ALL_TABLES in names else names
    for name in chosen:
        rows(name)  # a typo is named before anything is read or measured
    return chosen


def _collect(folders: Sequence[Path], elsewhere: Sequence[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """The runs in the folders, runs from elsewhere that are not copies of those, and a line for each unreadable one."""
    from stmask.experiments.collect import collect

    records, problems = collect(folders)
    here = {record.content for record in records if record.done}
    return [*records, *(record for record in elsewhere if record.content not in here)], problems


def _measure(comparisons: Sequence[Comparison], *, device: str) -> None:
    from stmask.experiments.benchmark import measure_runs
    from stmask.experiments.comparison import counted

    lacking = [run.folder for run in counted(comparisons) if run.folder is not None and run.speed is None]
    for problem in measure_runs(lacking, device=device, on_run=print):
        print(problem, file=sys.stderr)


def _summary(comparison: Comparison) -> list[str]:
    """How much of a table is measured, one line per setting."""
    lines = [comparison.table]
    for section in comparison.sections:
        rows = f"{section.measured_rows} of {len(section.rows)} rows measured"
        lines.append(f"  {section.setting}: {rows}, {section.measured_runs} runs")
    return lines
