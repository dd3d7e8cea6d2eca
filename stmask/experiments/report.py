"""Writes a comparison: results.csv with every number, and a readable table.md."""

from __future__ import annotations

import csv
import io
import os
from datetime import timedelta
from pathlib import Path

from stmask.experiments.comparison import PAPER_FPS, Comparison, RowResult, Section, Spread
from stmask.experiments.rows import IMAGES, TITLES
from stmask.files import atomic_open

RESULTS, TABLE = "results.csv", "table.md"
_PAPER = "The paper: YouTube-VIS 2019 valid, FPS on one 2080 Ti."
_SOURCES = {IMAGES: "AP is that of masks. The paper's: what its authors give with their weights, on COCO at 550 x 550."}
_MISSING = "-"
_DIGITS = 4


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
    """One line per row and setting: percent, seconds, frames per second; missing values are empty."""
    lines = [
        {
            "table": comparison.table,
            "row": result.row.name,
            "setting": str(section.setting),
            "like_the_paper": "yes" if section.setting.like_the_paper else "no",
            "dataset": " ".join(sorted({run.dataset for run in result.runs})),
            "n": len(result.runs),
            "seeds": " ".join(map(str, result.seeds)),
            **_measured(result, comparison.metrics),
            "FPS_conditions": section.conditions if result.fps.values else "",
            "train_seconds": _number(result.train_seconds.mean),
            "train_seconds_std": _number(result.train_seconds.std),
            "parameters": _number(result.parameters),
            "experiment": result.row.experiment,
            "runs": " ".join(run.name for run in result.runs),
        }
        for section in comparison.sections
        for result in section.rows
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0] if lines else (), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _measured(result: RowResult, metrics: tuple[str, ...]) -> dict[str, str]:
    """The columns of each metric and of the frames per second."""
    columns = {}
    for name in (*metrics, PAPER_FPS):
        spread = result.fps if name == PAPER_FPS else result.metric(name)
        columns[f"{name}_paper"] = _number(result.row.paper.get(name))
        columns |= {name: _number(spread.mean), f"{name}_std": _number(spread.std)}
        if name != PAPER_FPS:
            columns[f"{name}_difference"] = _number(result.difference(name))
    return columns


def table_markdown(comparison: Comparison) -> str:
    """The table under each setting, the paper's numbers beside ours."""
    title = TITLES.get(comparison.table, "your own rows")
    about = (
        f"Made by `stmask tables {comparison.table}`; not to be edited. Metrics are in percent, ours the mean ± sample "
        f"standard deviation over n seeds, each of its best validation. {_SOURCES.get(comparison.table, _PAPER)} "
        f"{_MISSING} stands for what the paper doesn't give and what was not measured."
    )
    lines = [f"# {comparison.table}: {title}", "", about]
    for section in comparison.sections:
        lines += ["", f"## Setting: {section.setting}", "", section_markdown(comparison, section)]
    return "\n".join(lines) + "\n"


def section_markdown(comparison: Comparison, section: Section) -> str:
    """The measurements of a table under one setting, and the runs that do not count."""
    main, *others = comparison.metrics
    lines = [_what_is_measured(section), ""]
    heads = ["row", f"{main}, paper", f"{main}, ours", "difference", "n", "training", "parameters"]
    heads += ["FPS, paper", "FPS, ours"]
    lines += markdown_table(heads, [_main_cells(result, main) for result in section.rows])
    if others:
        cells = [
            [f"`{r.row.name}`", *(f"{_spread(r.metric(name))} ({_fixed(r.row.paper.get(name))})" for name in others)]
            for r in section.rows
        ]
        lines += ["", "The other metrics, ours (the paper's):", "", *markdown_table(["row", *others], cells)]
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
        f"{where} **Another dataset or recipe than the paper's**, whose numbers stand here for orientation only: the "
        "differences do not tell how well they are reproduced."
    )


def _main_cells(result: RowResult, main: str) -> list[str]:
    paper, difference, seconds = result.row.paper, result.difference(main), result.train_seconds.mean
    return [
        f"`{result.row.name}`",
        _fixed(paper.get(main)),
        _spread(result.metric(main)) if result.runs else "missing",
        _MISSING if difference is None else f"{difference:+.1f}",
        str(len(result.runs)),
        _MISSING if seconds is None else str(timedelta(seconds=round(seconds))),
        _MISSING if result.parameters is None else f"{result.parameters / 1e6:.1f} M",
        _fixed(paper.get(PAPER_FPS)),
        _spread(result.fps),
    ]


def _spread(spread: Spread) -> str:
    return _fixed(spread.mean) if spread.std is None else f"{spread.mean:.1f} ± {spread.std:.1f}"


def _fixed(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else str(round(value, _DIGITS))


def markdown_table(heads: list[str], cells: list[list[str]]) -> list[str]:
    """A Markdown table with aligned columns."""
    widths = [max(3, *(len(row[i]) for row in (heads, *cells))) for i in range(len(heads))]

    def line(row: list[str]) -> str:
        padded = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(heads), line(rule), *map(line, cells)]
