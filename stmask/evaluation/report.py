"""The metrics as plain-text tables, JSON and CSV."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from stmask.evaluation.causes import Cause
from stmask.evaluation.explain import Explanation, Share
from stmask.evaluation.identity import TrackIdentity
from stmask.evaluation.tracking import TrackingReport
from stmask.evaluation.video_ap import MASK_METRICS, ClassReport, VideoAPReport

if TYPE_CHECKING:
    from rich.table import Table

    from stmask.evaluation.image_ap import ImageAPReport

MEANINGS = {
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


_IMAGE_MEANINGS = MEANINGS | {
    "APS": "small: area up to 32²",
    "APM": "medium: 32² to 96²",
    "APL": "large: 96² and more",
    "AR1": "recall, 1 instance per image and class",
    "AR10": "recall, 10 instances",
    "AR100": "recall, 100 instances",
}


_TRACKING = ("HOTA", "DetA", "AssA", "LocA", "IDF1", "MOTSA", "sMOTSA", "MOTSP")
_TRACKING_COUNTS = ("TP", "FP", "FN", "IDSW", "Frag")


class ReportByClass(Protocol):
    """The report of the metric for videos or images."""

    @property
    def per_class(self) -> tuple[ClassReport, ...]: ...


def percent(value: float) -> str:
    """A metric in points with one decimal, "-" where it is undefined."""
    return "-" if value < 0 else f"{100 * value:.1f}"


def points(difference: float) -> str:
    """A difference of metrics in points with one decimal and its sign."""
    return f"{100 * difference:+.1f}"


def metrics_table(report: VideoAPReport) -> str:
    """The 12 metrics, one per line."""
    table = TextTable("metric", "value", "")
    for name in MASK_METRICS:
        table.add_row(name, percent(report.stats[name]), MEANINGS[name])
    return str(table)


def image_metrics_table(report: ImageAPReport) -> str:
    """The 12 metrics of masks and of boxes, one per line."""
    table = TextTable("metric", "mask", "box", "")
    for name in MASK_METRICS:
        values = (percent(report.stats[key]) for key in (name, f"box_{name}"))
        table.add_row(name, *values, _IMAGE_MEANINGS[name])
    return str(table)


def class_table(report: ReportByClass) -> str:
    """The (mask) metrics of each class, with its counts of annotated tracks (or objects) and predictions."""
    table = TextTable("class", "tracks", "predicted", *MASK_METRICS)
    for row in report.per_class:
        values = (percent(row.stats[name]) for name in MASK_METRICS)
        table.add_row(row.category.name, str(row.tracks), str(row.predictions), *values)
    return str(table)


def class_csv(report: ReportByClass) -> str:
    """One line per class at full precision; undefined metrics are left empty. Images have box metrics too."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = report.per_class
    names = list(rows[0].stats) if rows else MASK_METRICS
    writer.writerow(["category_id", "name", "tracks", "predictions", *names])
    for row in rows:
        values = ["" if row.stats[name] < 0 else repr(row.stats[name]) for name in names]
        writer.writerow([row.category.id, row.category.name, row.tracks, row.predictions, *values])
    return text.getvalue()


def variants_table(reports: Mapping[str, VideoAPReport]) -> str:
    """AP, AP50, AP75 and AR100 of several readings of the same results, one per line."""
    names = ("AP", "AP50", "AP75", "AR100")
    table = TextTable("", *names)
    for title, report in reports.items():
        table.add_row(title, *(percent(report.stats[name]) for name in names))
    return str(table)


def identity_table(identities: Sequence[TrackIdentity], *, names: Mapping[int, str]) -> str:
    """Identity switches and fragmentations of each annotated track, and their sums."""
    table = TextTable("annotation", "video", "class", "frames", "covered", "switches", "fragments")
    for row in identities:
        cells = (row.video_id, names[row.category_id], row.frames, row.covered, row.switches, row.fragmentations)
        table.add_row(str(row.annotation_id), *map(str, cells))
    sums = (
        sum(getattr(row, name) for row in identities) for name in ("frames", "covered", "switches", "fragmentations")
    )
    table.add_row("all", "", "", *map(str, sums))
    return str(table)


def tracking_table(report: TrackingReport, *, per_class: bool = False) -> str:
    """HOTA, IDF1, MOTSA and their parts in points, and counts: of all masks, the mean of the classes, of each class."""
    table = TextTable("", *_TRACKING, *_TRACKING_COUNTS)
    rows: list[tuple[str, Mapping[str, float], Mapping[str, int]]] = [
        ("all", report.combined.metrics, report.combined.counts),
        ("class mean", report.class_mean, {}),
    ]
    if per_class:
        found = zip(report.categories, report.per_class, strict=True)
        rows += [(category.name, sums.metrics, sums.counts) for category, sums in found if not sums.empty]
    for name, values, counts in rows:
        cells = (str(counts[key]) if counts else "" for key in _TRACKING_COUNTS)
        table.add_row(name, *(f"{100 * values[key]:.1f}" for key in _TRACKING), *cells)
    return str(table)


def explanation_text(explanation: Explanation) -> str:
    """A table of the causes over all tracks, and one of their costs by each kind of group."""
    total = explanation.total
    table = TextTable("cause", "false positives", "missed tracks", "AP50 cost")
    for cause in Cause:
        counts = str(total.false_positives[cause]), str(total.missed[cause])
        table.add_row(cause.title, *counts, points(total.cost[cause]))
    parts = [
        f"AP50 is {percent(explanation.ap50)}; {total.found} of {total.tracks} tracks are found. "
        "Cost: points of AP50 to gain by fixing this cause alone.",
        str(table),
    ]
    for dimension, groups in explanation.groups.items():
        parts.append(f"AP50 cost by {dimension}:")
        parts.append(_groups_table(dimension, groups))
    return "\n\n".join(parts)


def _groups_table(dimension: str, groups: Mapping[str, Share]) -> str:
    table = TextTable(dimension, "tracks", "found", *(cause.title for cause in Cause))
    for name, share in groups.items():
        table.add_row(name, str(share.tracks), str(share.found), *(points(share.cost[cause]) for cause in Cause))
    return str(table)


class TextTable:
    """A table as plain text: columns with names are aligned to the right, the first and those without to the left."""

    def __init__(self, *columns: str) -> None:
        self._columns = columns
        self._rows: list[tuple[str, ...]] = [columns]

    def add_row(self, *cells: str) -> None:
        """As many cells as columns, or fewer."""
        self._rows.append((*cells, *[""] * (len(self._columns) - len(cells))))

    def __str__(self) -> str:
        widths = [max(map(_width, column)) for column in zip(*self._rows, strict=True)]
        return "\n".join("  ".join(self._cells(row, widths)).rstrip() for row in self._rows)

    def _cells(self, row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(cell))
            yield cell + space if index == 0 or not self._columns[index] else space + cell


def _width(text: str) -> int:
    """Cells of a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def render(table: Table) -> str:
    """A table of rich as plain text, at its full width."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=400, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())
