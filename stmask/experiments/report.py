"""A comparison as files: results.csv with every number, table.md to read."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from stmask.experiments.comparison import PAPER_FPS, Comparison, RowResult, Section, Spread
from stmask.experiments.rows import IMAGES, TITLES
from stmask.files import atomic_open

RESULTS, TABLE = "results.csv", "table.md"
_PAPER = "The paper: YouTube-VIS 2019 valid, FPS on one 2080 Ti."
_SOURCES = {IMAGES: "AP is that of masks. The paper's: what its authors give with their weights, on COCO at 550 x 550."}
_TITLES = {**TITLES, IMAGES: "the image networks that trainings on videos start from"}
_MISSING = "-"
_DIGITS = 4
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def write_comparison(folder: str | os.PathLike[str], comparison: Comparison) -> list[Path]:
    """Writes results.csv and table.md into a folder, the same bytes for the same runs; returns the paths.

    Raises:
        OutputError: a file can't be written.
    """
    contents = {RESULTS: results_csv(comparison), TABLE: table_markdown(comparison)}
    for name, text in contents.items():
        with atomic_open(Path(folder) / name) as handle:
            handle.write(text)
    return [Path(folder) / name for name in contents]


def results_csv(comparison: Comparison) -> str:
    """A line for each row and setting: percent, seconds, frames per second; what is missing is empty."""
    names = [*comparison.figures, PAPER_FPS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [column for name in names for column in (f"{name}_paper", name, f"{name}_std", f"{name}_difference")]
    writer.writerow(
        ["table", "row", "setting", "like_the_paper", "dataset", "n", "seeds", *columns[:-1], "FPS_conditions",
         "train_seconds", "train_seconds_std", "parameters", "experiment", "runs"]
    )  # fmt: skip
    for section in comparison.sections:
        like_the_paper = "yes" if section.setting.like_the_paper else "no"
        for result in section.rows:
            row, seconds = result.row, result.train_seconds
            figures = [
                cell
                for name in comparison.figures
                for cell in (*_numbers(row.paper.get(name), result.figure(name)), _number(result.difference(name)))
            ]
            writer.writerow(
                [comparison.table, row.name, str(section.setting), like_the_paper, " ".join(_datasets(result)),
                 len(result.runs), " ".join(map(str, result.seeds)), *figures,
                 *_numbers(row.paper.get(PAPER_FPS), result.fps), result.conditions if result.fps.values else "",
                 _number(seconds.mean), _number(seconds.std), _number(result.parameters), row.experiment,
                 " ".join(run.name for run in result.runs)]
            )  # fmt: skip
    return text.getvalue()


def table_markdown(comparison: Comparison) -> str:
    """The table under each setting, the paper's figures beside ours."""
    title = _TITLES.get(comparison.table, "rows of one's own")
    about = (
        f"Made by `stmask tables {comparison.table}`; not to be edited. Figures are percent, ours the mean ± sample "
        f"standard deviation over n seeds, each of its best validation. {_SOURCES.get(comparison.table, _PAPER)} "
        f"{_MISSING} stands for what the paper doesn't give and what was not measured."
    )
    lines = [f"# {comparison.table}: {title}", "", about]
    for section in comparison.sections:
        lines += ["", f"## Setting: {section.setting}", "", section_markdown(comparison, section)]
    return "\n".join(lines) + "\n"


def section_markdown(comparison: Comparison, section: Section) -> str:
    """What was measured of a table under one setting, and which runs do not count."""
    main, *others = comparison.figures
    lines = [_what_is_measured(section), ""]
    heads = [
        "row",
        f"{main}, paper",
        f"{main}, ours",
        "difference",
        "n",
        "training",
        "parameters",
        "FPS, paper",
        "FPS, ours",
    ]
    lines += _markdown(heads, [_main_cells(result, main) for result in section.rows])
    if others:
        cells = [[f"`{r.row.name}`", *(_beside(r, name) for name in others)] for r in section.rows]
        lines += ["", "The other figures, ours (the paper's):", "", *_markdown(["row", *others], cells)]
    if section.conditions is not None:
        lines += ["", f"FPS, ours: {section.conditions}."]
    if section.notes:
        lines += ["", *(f"- {note}" for note in section.notes)]
    return "\n".join(lines)


def _what_is_measured(section: Section) -> str:
    where = f"Ours: {'; '.join(section.datasets)}." if section.measured_rows else "No finished run."
    if section.setting.like_the_paper:
        return where
    return (
        f"{where} **Another dataset or recipe than the paper's**, whose figures stand here for orientation only: the "
        "differences do not tell how well they are reproduced."
    )


def _main_cells(result: RowResult, main: str) -> list[str]:
    paper, difference = result.row.paper, result.difference(main)
    return [
        f"`{result.row.name}`",
        _fixed(paper.get(main)),
        _spread(result.figure(main)) if result.runs else "missing",
        _MISSING if difference is None else f"{difference:+.1f}",
        str(len(result.runs)),
        duration(result.train_seconds.mean),
        _MISSING if result.parameters is None else f"{result.parameters / 1e6:.1f} M",
        _fixed(paper.get(PAPER_FPS)),
        _spread(result.fps),
    ]


def duration(seconds: float | None) -> str:
    """In its two largest units, such as "1 d 3 h"."""
    if seconds is None:
        return _MISSING
    left = round(seconds)
    parts: list[str] = []
    for size, unit in _UNITS:
        if parts or left >= size or size == 1:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(part for part in parts[:2] if not part.startswith("0 ")) or parts[0]


def _beside(result: RowResult, name: str) -> str:
    return f"{_spread(result.figure(name))} ({_fixed(result.row.paper.get(name))})"


def _spread(spread: Spread) -> str:
    return _fixed(spread.mean) if spread.std is None else f"{spread.mean:.1f} ± {spread.std:.1f}"


def _fixed(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.1f}"


def _numbers(paper: float | None, spread: Spread) -> tuple[str, str, str]:
    return _number(paper), _number(spread.mean), _number(spread.std)


def _number(value: float | None) -> str:
    return "" if value is None else str(round(value, _DIGITS))


def _datasets(result: RowResult) -> list[str]:
    return sorted({run.dataset for run in result.runs})


def _markdown(heads: list[str], cells: list[list[str]]) -> list[str]:
    """A table of Markdown with its columns aligned to the eye."""
    widths = [max(3, *(len(row[i]) for row in (heads, *cells))) for i in range(len(heads))]

    def line(row: list[str]) -> str:
        padded = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(heads), line(rule), *map(line, cells)]
