"""The figures as plain-text tables, JSON and CSV."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stmask.evaluation.video_ap import FIGURES, VideoAPReport
from stmask.files import atomic_open

_MEANINGS = {
    "AP": "mean over IoU .50:.05:.95",
    "AP50": "IoU .50",
    "AP75": "IoU .75",
    "APS": "small: mean area up to 128²",
    "APM": "medium: 128² to 256²",
    "APL": "large: 256² and more",
    "AR1": "recall, 1 track per video and class",
    "AR10": "recall, 10 tracks",
    "AR100": "recall, 100 tracks",
    "ARS": "recall, small",
    "ARM": "recall, medium",
    "ARL": "recall, large",
}


def percent(value: float) -> str:
    """A figure in points with one decimal, "-" where it is undefined."""
    return "-" if value < 0 else f"{100 * value:.1f}"


def figures_table(report: VideoAPReport) -> str:
    """The 12 figures, one a line."""
    table = _table("figure", "value", "")
    for name in FIGURES:
        table.add_row(name, percent(report.stats[name]), _MEANINGS[name])
    return render(table)


def class_table(report: VideoAPReport) -> str:
    """The figures of each class, with its numbers of annotated tracks and predictions."""
    table = _table("class", "tracks", "predicted", *FIGURES)
    for row in report.per_class:
        figures = (percent(row.stats[name]) for name in FIGURES)
        table.add_row(row.category.name, str(row.tracks), str(row.predictions), *figures)
    return render(table)


def class_csv(report: VideoAPReport) -> str:
    """One line per class at full precision; an undefined figure is left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["category_id", "name", "tracks", "predictions", *FIGURES])
    for row in report.per_class:
        figures = ["" if row.stats[name] < 0 else repr(row.stats[name]) for name in FIGURES]
        writer.writerow([row.category.id, row.category.name, row.tracks, row.predictions, *figures])
    return text.getvalue()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file, whole or not at all."""
    with atomic_open(path) as handle:
        handle.write(text)


def as_json(report: VideoAPReport) -> dict[str, Any]:
    """The 12 figures under their names; -1 where undefined."""
    return dict(report.stats)


def render(table: Table) -> str:
    """A table as plain text, as wide as it needs to be."""
    console = Console(file=io.StringIO(), width=400, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if index == 0 or not column else "right")
    return table
