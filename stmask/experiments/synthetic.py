"""What the benchmark says of the rows: results.csv, table.md, and pictures of differences by factor."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from statistics import stdev

from stmask.data.synthetic.bench import FACTOR_SETS, VERSION
from stmask.experiments.bench_runs import BASE, BenchResults, BenchRow, BenchTable
from stmask.experiments.differences import LEAST_SEEDS, LEVEL, RESAMPLES, Bootstrap, Difference, Runs, average_precision
from stmask.experiments.plots import differences_by_factor
from stmask.experiments.report import RESULTS, TABLE, markdown_table
from stmask.experiments.rows import TITLES
from stmask.files import atomic_open, atomic_path

FOLDER = "synthetic"
_DIGITS = 4
_MISSING = "-"
_COLUMNS = ("table", "row", "before", "split", "factor", "step", "videos", "n", "seeds", "AP", "AP_std", "difference",
            "low", "high", "pairs", "better", "change", "change_low", "change_high")  # fmt: skip
# measured: shares of 4000 samples of normal differences whose mean of 0 lay in the percentile interval
_COVERAGE = "84 % with five seeds, 88 % with eight, 89 % with ten"


@dataclass(frozen=True)
class Line:
    """A row in some videos, and its difference to the row before in the same ones.

    Attributes:
        table, row, before: names; before is "" for a row that is not compared.
        split: the set of the benchmark.
        factor, step: of the set; "" and 0 for the validation set itself.
        videos: of these.
        seeds: of the runs.
        values: AP of each, in percent.
        difference: None where there is nothing to compare.
        change: of the difference, from that in the same videos without the factor; None without such.
    """

    table: str
    row: str
    before: str
    split: str
    factor: str
    step: int
    videos: int
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    difference: Difference | None
    change: Difference | None = None

    @property
    def mean(self) -> float | None:
        return sum(self.values) / len(self.values) if self.values else None


def lines_of(
    results: BenchResults, bootstrap: Bootstrap, *, on_line: Callable[[], None] = lambda: None
) -> tuple[Line, ...]:
    """Every row on the validation set, then on each factor's sets: step 0 is that of the same videos without it."""
    found = []
    for table in results.tables:
        for line in _lines(table, bootstrap):
            found.append(line)
            on_line()
    return tuple(found)


def number_of_lines(results: BenchResults) -> int:
    """How many lines there will be."""
    return sum(len(table.rows) * (1 + len(_sets(table))) for table in results.tables)


def _sets(table: BenchTable) -> list[tuple[str, str, int]]:
    """Set, factor and step of the factors' sets, each factor's begun by step 0."""
    sets: list[tuple[str, str, int]] = []
    for split in table.splits:
        factor, step = FACTOR_SETS[split]
        if factor not in {known for _, known, _ in sets}:
            sets.append((split, factor, 0))
        sets.append((split, factor, step))
    return sets


def _lines(table: BenchTable, bootstrap: Bootstrap) -> Iterator[Line]:
    for row in table.rows:
        yield _line(table, row, methodcaller("on", BASE), bootstrap, split=BASE)
    for split, factor, step in _sets(table):
        for row in table.rows:
            if step:
                yield _line(table, row, methodcaller("on", split), bootstrap, split=split, factor=factor, step=step)
            else:
                yield _line(table, row, methodcaller("beside", split), bootstrap, split=BASE, factor=factor)


def _line(
    table: BenchTable,
    row: BenchRow,
    runs_of: Callable[[BenchRow], Runs],
    bootstrap: Bootstrap,
    *,
    split: str,
    factor: str = "",
    step: int = 0,
) -> Line:
    runs, before = runs_of(row), table.before(row)
    change = None
    if step and before is not None:
        change = bootstrap.change((row.beside(split), before.beside(split)), (runs, runs_of(before)))
    return Line(
        table=table.name,
        row=row.row.name,
        before=row.row.before or "",
        split=split,
        factor=factor,
        step=step,
        videos=len(next(iter(runs.values())).video_ids) if runs else 0,
        seeds=tuple(sorted(runs)),
        values=average_precision(runs),
        difference=None if before is None else bootstrap.difference(runs, runs_of(before)),
        change=change,
    )


def write_synthetic(folder: str | os.PathLike[str], results: BenchResults, lines: Sequence[Line]) -> list[Path]:
    """Writes results.csv, table.md, and a picture for each table with results by factor; returns the paths.

    Raises:
        OutputError: a file can't be written.
    """
    folder = Path(folder)
    contents = {RESULTS: results_csv(lines), TABLE: table_markdown(results, lines)}
    for name, text in contents.items():
        with atomic_open(folder / name) as handle:
            handle.write(text)
    paths = [folder / name for name in contents]
    for table in results.tables:
        by_factor = [line for line in lines if line.table == table.name and line.factor and line.difference is not None]
        if by_factor:
            path = folder / f"{table.name}.png"
            with atomic_path(path) as place:
                differences_by_factor(by_factor).savefig(place, format="png", dpi=110, metadata={"Software": None})
            paths.append(path)
    return paths


def results_csv(lines: Sequence[Line]) -> str:
    """A line for each row and set: percent and points; what is missing is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for line in lines:
        there = line.difference
        std = stdev(line.values) if len(line.values) > 1 else None
        writer.writerow(
            [
                *(line.table, line.row, line.before, line.split, line.factor, line.step, line.videos or ""),
                *(len(line.seeds), " ".join(map(str, line.seeds)), _number(line.mean), _number(std)),
                *map(_number, _values(there)),
                *(("", "") if there is None else (len(there.seeds), there.better)),
                *map(_number, _values(line.change)),
            ]
        )
    return text.getvalue()


def _values(difference: Difference | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if difference is None else (difference.mean, difference.low, difference.high)


def table_markdown(results: BenchResults, lines: Sequence[Line]) -> str:
    """The tables on the validation set, then differences by factor and step."""
    about = (
        "Made by `stmask tables --bootstrap`; not to be edited. Synthetic videos of the benchmark `bench`, version "
        f"{VERSION}; setting: {results.setting}. AP in percent, mean ± sample standard deviation over n seeds, of the "
        "checkpoint with the best validation, which was on the same videos. Differences are in points, of runs with "
        "equal seeds, which saw the same samples and began with the same values where they have the same part. "
        f"Brackets: {100 * LEVEL:.0f} % percentile intervals of {RESAMPLES} draws of seeds and videos with "
        f"replacement, from {LEAST_SEEDS} seeds on. Of normal differences that vary with "
        f"the seed alone such an interval covers {_COVERAGE}; where half of the variance of the mean is that of single "
        "results (one seed in one video), 97 % with five. "
        "Bold: the interval of the change, from the difference in the same videos without the factor, leaves out 0. Of "
        "so many intervals some do by chance."
    )
    parts = ["# The tables on synthetic videos", "", about, ""]
    parts += [f"- {note}" for note in results.notes] + ([""] if results.notes else [])
    for table in results.tables:
        own = [line for line in lines if line.table == table.name]
        parts += [f"## {table.name}: {TITLES.get(table.name, 'your own rows')}", ""]
        parts += _overall([line for line in own if not line.factor])
        for factor in dict.fromkeys(line.factor for line in own if line.factor):
            parts += ["", f"Differences with more of {factor}:", ""]
            parts += _by_step([line for line in own if line.factor == factor])
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _overall(lines: Sequence[Line]) -> list[str]:
    heads = ["row", "AP", "n", "compared with", "difference", "seeds with more"]
    cells = []
    for line in lines:
        there = line.difference
        more = _MISSING if there is None else f"{there.better} of {len(there.seeds)}"
        compared = f"`{line.before}`" if line.before else _MISSING
        cells.append([f"`{line.row}`", _ap(line), str(len(line.seeds)), compared, _difference(there), more])
    return markdown_table(heads, cells)


def _by_step(lines: Sequence[Line]) -> list[str]:
    steps = sorted({line.step for line in lines})
    videos = max(line.videos for line in lines)
    heads = ["row", *(f"step {step}" if step else f"without ({videos} videos)" for step in steps)]
    cells = []
    for row in dict.fromkeys(line.row for line in lines):
        own = {line.step: line for line in lines if line.row == row}
        if not any(line.seeds for line in own.values()):
            continue
        if any(line.before for line in own.values()):
            cells.append([f"`{row}`", *(_changed(own[step]) for step in steps)])
        else:
            cells.append([f"`{row}` (AP)", *(_ap(own[step]) for step in steps)])
    return markdown_table(heads, cells)


def _ap(line: Line) -> str:
    if line.mean is None:
        return "missing"
    return f"{line.mean:.1f} ± {stdev(line.values):.1f}" if len(line.values) > 1 else f"{line.mean:.1f}"


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return _MISSING
    if difference.low is None or difference.high is None:
        count = len(difference.seeds)
        return f"{difference.mean:+.1f} ({count} {'seed' if count == 1 else 'seeds'}: too few)"
    return f"{difference.mean:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"


def _changed(line: Line) -> str:
    text, change = _difference(line.difference), line.change
    if change is None or change.low is None or change.high is None:
        return text
    return text if change.low <= 0 <= change.high else f"**{text}**"


def _number(value: float | None) -> str:
    return "" if value is None else str(round(value, _DIGITS))
