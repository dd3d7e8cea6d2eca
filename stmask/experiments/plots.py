"""Pictures of a comparison: measured beside printed metrics, learning curves, accuracy against speed."""

from __future__ import annotations

import textwrap
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from stmask.experiments.comparison import RowResult, Section
from stmask.plots import style
from stmask.runs.folder import METRICS
from stmask.runs.history import read_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stmask.experiments.synthetic import Line

_COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.RED, style.PURPLE, style.SKY, style.INK)
_LOOKS = tuple((colour, dash) for dash in ("-", "--", ":") for colour in _COLOURS)  # of rows
_ROW_HEIGHT, _FRAME_HEIGHT = 0.38, 1.1  # inches
_CAPS = 3.0  # of error bars, points
_ACROSS = 4  # panels


def paper_and_measured(section: Section, metric: str = "AP") -> Figure:
    """One line per row: the paper's number as a diamond, every seed as a ring, their mean with its deviation.

    If ours are from another dataset or recipe, the paper's have a scale of their own: only the order of the rows can be
    compared.
    """
    from matplotlib.figure import Figure

    size = (8.5, _ROW_HEIGHT * len(section.rows) + _FRAME_HEIGHT)
    chart = Figure(figsize=size, layout="constrained")
    if section.setting.like_the_paper:
        ours = printed = chart.subplots()
    else:
        ours, printed = chart.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        printed.set_title("paper", fontsize=9, color=style.INK, loc="left")
    for y, result in enumerate(section.rows):
        if (paper := result.row.paper.get(metric)) is not None:
            printed.plot(paper, y - 0.18, "D", color=style.INK, fillstyle="none", markersize=6, label="paper")
        spread = result.metric(metric)
        if spread.mean is None:
            continue
        ours.plot(spread.values, [y + 0.18] * len(spread.values), "o", color=style.SKY, fillstyle="none", markersize=5,
                  label="one seed")  # fmt: skip
        ours.errorbar(spread.mean, y + 0.18, xerr=spread.std, fmt="o", color=style.BLUE, markersize=5, capsize=_CAPS,
                      label="mean ± standard deviation")  # fmt: skip
    ours.set_yticks(range(len(section.rows)), [_label(result) for result in section.rows])
    ours.set_ylim(len(section.rows) - 0.4, -0.6)
    for axis in chart.axes:
        style.plain(axis)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.3)
        axis.set_xlabel(f"{metric} (%)")
    _title(ours, section, width=70)
    handles = {label: handle for axis in chart.axes for handle, label in zip(*axis.get_legend_handles_labels())}
    if handles:
        chart.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    return chart


def curves(section: Section, metric: str = "AP") -> Figure:
    """A validation metric over the steps: the mean of a row's seeds, in a band from the lowest to the highest.

    Runs from W&B have no curves here, and a row's line ends where the first of its seeds does.

    Raises:
        DataError: the metrics.csv of a run that counts is missing or broken.
    """
    chart, axis = style.chart(8.5, 4.0)
    for result, (colour, dash) in zip(section.rows, cycle(_LOOKS)):
        logs = [read_series(run.folder / METRICS) for run in result.runs if run.folder is not None]
        found = [log[f"valid/{metric}"].defined() if f"valid/{metric}" in log else {} for log in logs]
        steps = sorted(set.intersection(*map(set, found))) if found else []
        if not steps:
            continue
        values = 100 * np.array([[values[step] for step in steps] for values in found])  # (seeds, steps)
        name = f"{result.row.name} ({len(found)})"
        axis.plot(steps, values.mean(0), dash, color=colour, linewidth=1.8, marker=".", markersize=5, label=name)
        axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
    axis.set(xlabel="step", ylabel=f"{metric} (%)")
    axis.grid(alpha=0.3)
    _title(axis, section)
    if axis.get_legend_handles_labels()[0]:
        chart.legend(loc="outside right upper", fontsize=9, frameon=False, title="row (seeds)")
    return chart


def accuracy_and_speed(section: Section, metric: str = "AP") -> Figure | None:
    """Mean and deviation of a metric against those of frames per second, in the colours of `curves`.

    None if no speed was measured under this setting.
    """
    if section.conditions is None:
        return None
    chart, axis = style.chart(8.5, 4.0)
    for result, (colour, _) in zip(section.rows, cycle(_LOOKS)):
        accuracy, speed = result.metric(metric), result.fps
        if accuracy.mean is None or speed.mean is None:
            continue
        axis.errorbar(speed.mean, accuracy.mean, xerr=speed.std, yerr=accuracy.std, fmt="o", color=colour, markersize=7,
                      capsize=_CAPS, label=result.row.name)  # fmt: skip
    axis.set(xlabel=f"frames per second ({section.conditions})", ylabel=f"{metric} (%)")
    axis.grid(alpha=0.3)
    _title(axis, section)
    chart.legend(loc="outside right upper", fontsize=9, frameon=False, title="row")
    return chart


def differences_by_factor(lines: Sequence[Line]) -> Figure:
    """A panel for each factor: the difference of each row to the row before, with intervals, over the factor's steps.

    Step 0 is the same videos without the factor. A difference of too few seeds has no interval, and a hollow mark.
    """
    from matplotlib.figure import Figure

    factors = list(dict.fromkeys(line.factor for line in lines))
    rows = list(dict.fromkeys((line.row, line.before) for line in lines))
    across = min(_ACROSS, len(factors))
    down = -(-len(factors) // across)
    chart = Figure(figsize=(2.9 * across + 0.4, 2.5 * down + 0.7), layout="constrained")
    panels = chart.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, factor in zip(panels, factors, strict=False):
        axis.axhline(0, color=style.INK, linewidth=0.8)
        for place, ((row, before), colour) in enumerate(zip(rows, cycle(_COLOURS))):
            shift = 0.14 * (place - (len(rows) - 1) / 2)
            own = [line for line in lines if (line.factor, line.row) == (factor, row)]
            found = [(line.step + shift, line.difference) for line in own if line.difference is not None]
            axis.plot([x for x, _ in found], [there.mean for _, there in found], "-", color=colour, linewidth=1.0,
                      alpha=0.6, label=f"{row} - {before}")  # fmt: skip
            for x, there in found:
                bars = {"fmt": "o", "color": colour, "markersize": 4, "capsize": _CAPS}
                if there.low is None or there.high is None:
                    axis.errorbar(x, there.mean, fillstyle="none", **bars)
                else:
                    reach = [[there.mean - there.low], [there.high - there.mean]]
                    axis.errorbar(x, there.mean, yerr=reach, **bars)
        axis.set_title(factor, fontsize=10, color=style.INK, loc="left")
        axis.grid(axis="y", alpha=0.3)
    for axis in panels:
        style.plain(axis)
        axis.set_xticks(sorted({line.step for line in lines}))
        axis.tick_params(labelbottom=True)
    for axis in panels[len(factors) :]:
        axis.set_visible(False)
    chart.supxlabel("step of the factor", fontsize=9)
    chart.supylabel("difference of AP (points)", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    chart.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)), frameon=False, fontsize=9)
    return chart


def _label(result: RowResult) -> str:
    return f"{result.row.name} ({len(result.runs)})" if result.runs else f"{result.row.name} (missing)"


def _title(axis: Axes, section: Section, *, width: int = 95) -> None:
    """What was measured, in lines of the given length, with a note if it isn't what the paper did."""
    lines = textwrap.wrap(f"{section.setting}: {'; '.join(section.datasets)}", width)
    if not section.setting.like_the_paper:
        lines.append("another dataset or recipe than the paper's")
    axis.set_title("\n".join(lines), fontsize=9, color=style.INK, loc="left")
