"""Pictures of a report: precision against recall for every class, and what the causes of errors cost."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stmask.evaluation.causes import Cause
from stmask.evaluation.curves import RECALL_POINTS
from stmask.evaluation.explain import Explanation
from stmask.evaluation.matching import IOU_THRESHOLDS
from stmask.evaluation.video_ap import VideoAPReport
from stmask.files import atomic_path
from stmask.lettering import for_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = (0, 3, 5, 7)  # thresholds 0.5, 0.65, 0.75, 0.85: all ten would hide each other
_DPI = 120
_MOST_CLASSES = 100  # a larger picture would be neither drawable nor readable


def write_plots(
    folder: str | os.PathLike[str], report: VideoAPReport, explanation: Explanation | None = None
) -> list[Path]:
    """Writes precision_recall.png and, with an explanation, errors.png; returns the paths."""
    pictures = {"precision_recall.png": precision_recall(report)}
    if explanation is not None:
        pictures["errors.png"] = error_costs(explanation)
    paths = []
    for name, figure in pictures.items():
        paths.append(Path(folder) / name)
        with atomic_path(paths[-1]) as temporary:
            figure.savefig(temporary, dpi=_DPI)
    return paths


def precision_recall(report: VideoAPReport) -> Figure:
    """One small chart for each class that has annotations, a curve for each of four IoU thresholds.

    With very many classes, only those with the most annotated tracks.
    """
    from matplotlib.figure import Figure

    largest = np.argsort(-report.tracks, kind="stable")[:_MOST_CLASSES]
    shown = [k for k in sorted(largest.tolist()) if report.tracks[k]]
    columns = min(5, max(1, math.ceil(math.sqrt(len(shown)))))
    rows = max(1, math.ceil(len(shown) / columns))
    figure = Figure(figsize=(2.6 * columns + 0.6, 2.4 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, k in zip(axes.flat, shown, strict=False):
        for shade, threshold in zip(np.linspace(0.0, 0.75, len(_SHOWN)), _SHOWN, strict=True):
            precision = report.precision[threshold, :, k, 0, -1]
            label = f"IoU {IOU_THRESHOLDS[threshold]:.2f}"
            axis.plot(RECALL_POINTS, precision, color=(shade * 0.8, 0.3 + shade * 0.6, 0.7 + shade * 0.3), label=label)
        ap = report.precision[:, :, k, 0, -1].mean()
        axis.set_title(f"{for_plot(report.categories[k].name, f'class {k + 1}')}  AP {100 * ap:.1f}", fontsize=9)
    for axis in list(axes.flat)[len(shown) :]:
        axis.set_axis_off()
    axes[0, 0].set(xlim=(0, 1), ylim=(0, 1.02))
    figure.supxlabel("recall", fontsize=9)
    figure.supylabel("precision", fontsize=9)
    if shown:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
    return figure


def error_costs(explanation: Explanation) -> Figure:
    """The cost of each cause in points of AP50, and the false positives and missed tracks it explains."""
    from matplotlib.figure import Figure

    total, rows = explanation.total, np.arange(len(Cause))
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    cost, counts = figure.subplots(1, 2, sharey=True)
    _bars(cost, rows, [100 * total.cost[cause] for cause in Cause], label_format=".1f", height=0.6, color="#c44e52")
    cost.set_title(f"AP50 to gain by fixing one cause (now {100 * max(explanation.ap50, 0):.1f})", fontsize=10)
    cost.set_yticks(rows, [cause.title for cause in Cause])
    cost.invert_yaxis()
    for shift, share, title, colour in (
        (-0.2, total.false_positives, "false positives", "#8c8c8c"),
        (0.2, total.missed, "missed tracks", "#4c72b0"),
    ):
        numbers = [share[cause] for cause in Cause]
        _bars(counts, rows + shift, numbers, label_format="d", height=0.38, color=colour, label=title)
    counts.set_title("errors", fontsize=10)
    counts.legend(fontsize=8)
    return figure


def _bars(axis: Axes, rows: npt.NDArray[Any], values: Sequence[float], *, label_format: str, **style: Any) -> None:
    bars = axis.barh(rows, values, **style)
    labels = [format(value, label_format) if value else "" for value in values]
    axis.bar_label(bars, labels=labels, padding=3, fontsize=8)
    axis.margins(x=0.15)
    axis.spines[["top", "right"]].set_visible(False)
