"""Pictures of one run, from its folder: curves, classes, causes of errors, speed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stmask.data import read_image
from stmask.errors import DataError
from stmask.evaluation.causes import Cause
from stmask.lettering import for_plot
from stmask.plots import places, style
from stmask.runs.folder import METRICS
from stmask.runs.history import Floats, RunHistory, Series, Validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4  # small charts in a row
_CHART = (2.75, 1.9)  # inches of one
_NOT_LOSSES = {"loss", "grad_norm", "positives", "skipped_steps"}
_CURVES = {"AP": style.BLUE, "AP50": style.SKY, "AP75": style.PURPLE, "AR10": style.GREEN}
_SMOOTHED = 50  # values; fewer are drawn as they are
_WINDOW = 0.02  # of a series: how far its smooth line looks back
_MOST_CLASSES = 60  # more could not be read


def newest_run() -> Path:
    """The run that `STMASK_RUN` names; else the newest of the demo's and those in the folder of runs.

    Raises:
        ConfigError: the variable names no folder.
        DataError: there is none.
    """
    named = places.run_folder()  # or the demo's
    if named and os.environ.get(places.RUN_VARIABLE):
        return named
    runs = places.runs_folder()
    found: list[Path] = [*(named.glob(METRICS) if named else ()), *(runs.rglob(METRICS) if runs else ())]
    if not found:
        raise DataError(f"no run to look at: train one (`make demo`), or name its folder in {places.RUN_VARIABLE}")
    return max(found, key=lambda path: path.stat().st_mtime).parent


def overview(history: RunHistory) -> str:
    """A few lines: what ran, on what, how far it got, and the result."""
    origin, status = history.origin, history.status
    git, machine = origin.get("git") or {}, origin.get("machine") or {}
    parameters = origin.get("parameters")
    facts = {
        "run": f"{origin.get('experiment') or history.config.get('name')}, seed {history.config.get('seed')}",
        "state": f"{status.state}{f': {status.error}' if status.error else ''}",
        "network": f"{parameters / 1e6:.1f} million parameters" if parameters else None,
        "code": f"{git['commit'][:10]}{', with changes (git.diff)' if git.get('dirty') else ''}" if git else None,
        "machine": ", ".join(machine.get("gpus") or [f"{machine['cpus']} CPU cores"]) if machine else None,
        "training": f"{history.summary['train_seconds'] / 60:.1f} minutes" if history.summary else None,
        "best": _one_line(history.best) if history.validations else None,
    }
    return "\n".join(f"{name + ':':10}{fact}" for name, fact in facts.items() if fact)


def losses(history: RunHistory) -> Figure:
    """The whole loss and each of its terms, as weighted, against optimiser steps."""
    series = history.starting_with("train/")
    terms = {name: one for name, one in series.items() if name not in _NOT_LOSSES}
    return _charts({"loss (sum)": series["loss"], **terms} if "loss" in series else terms, colour=style.BLUE)


def optimisation(history: RunHistory) -> Figure:
    """Learning rate, norm of the gradient before clipping, positive anchors, and steps that were skipped."""
    rates = {f"learning rate ({name[3:]})": one for name, one in history.series.items() if name.startswith("lr-")}
    titles = {
        "grad_norm": "gradient norm", "positives": "positive anchors per step", "skipped_steps": "skipped steps"
    }  # fmt: skip
    series = history.starting_with("train/")
    others = {title: series[name] for name, title in titles.items() if name in series}
    figure = _charts(rates | others, colour=style.ORANGE, exact=[*rates, titles["skipped_steps"]])
    for axis in figure.axes:
        axis.set_ylim(bottom=0)
    return figure


def performance(history: RunHistory) -> Figure:
    """Throughput, time of a step, the share of it spent waiting for data, memory."""
    titles = {
        "samples_per_second": "samples per second", "step_seconds": "seconds per step",
        "data_wait_share": "share waiting for data", "memory_gib": "memory, GiB", "gpu_memory_gib": "GPU memory, GiB",
    }  # fmt: skip
    series = history.starting_with("performance/")
    figure = _charts({title: series[name] for name, title in titles.items() if name in series}, colour=style.GREEN)
    for axis in figure.axes:
        axis.set_ylim(bottom=0)
    return figure


def quality(history: RunHistory) -> Figure:
    """AP and its relatives at every validation, in percent; the best one is marked."""
    figure, axis = style.chart(8.0, 3.2)
    steps = [validation.step for validation in history.validations]
    for name, colour in _CURVES.items():
        values = [100 * validation.metrics.get(name, math.nan) for validation in history.validations]
        axis.plot(steps, values, "o-", color=colour, markersize=3, label=name)
    if history.validations:
        best = history.best
        axis.axvline(best.step, color=style.INK, linewidth=0.8, linestyle=":")
        axis.text(best.step, axis.get_ylim()[1], " best", fontsize=8, va="top", color=style.INK)
        axis.legend(fontsize=8, frameon=False, ncols=4, loc="upper left", bbox_to_anchor=(0, 1.14))
    axis.set(xlabel="optimiser steps", ylabel="percent")
    axis.grid(axis="y", alpha=0.3)
    return figure


def classes(validation: Validation) -> Figure:
    """AP and AP50 of each class with annotations, the best on top; of very many, those with the most objects."""
    rows = sorted((row for row in validation.classes if row.tracks), key=lambda row: -row.tracks)[:_MOST_CLASSES]
    rows.sort(key=lambda row: row.metrics.get("AP", 0.0))
    places_ = np.arange(len(rows))
    figure, axis = style.chart(8.0, 0.26 * len(rows) + 1.0)
    for name, colour, height in (("AP50", style.SKY, 0.7), ("AP", style.BLUE, 0.36)):
        axis.barh(places_, [100 * row.metrics.get(name, 0.0) for row in rows], height, color=colour, label=name)
    names = {row.name: for_plot(row.name, f"class {label}") for label, row in enumerate(validation.classes, start=1)}
    axis.set_yticks(places_, [f"{names[row.name]}  ({row.tracks})" for row in rows], fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.set(xlabel="percent", xlim=(0, 100), title=f"classes (and annotated objects) at step {validation.step}")
    axis.title.set_fontsize(10)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def errors(history: RunHistory) -> Figure:
    """What each cause of error costs in AP50, at every validation and at the best, and how many errors it explains."""
    if "explain/cost/missed" not in history.best.metrics:
        return _note("no causes of errors: only videos have them")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11.0, 3.2), layout="constrained")
    curves, costs, counts = figure.subplots(1, 3, width_ratios=(3, 2, 2))
    colours = (style.RED, style.ORANGE, style.YELLOW, style.PURPLE, style.SKY, style.BLUE, style.INK)
    steps = [validation.step for validation in history.validations]
    for cause, colour in zip(Cause, colours, strict=True):
        curves.plot(steps, _costs(history.validations, cause), "o-", color=colour, markersize=3, label=cause.title)
    curves.set(xlabel="optimiser steps", title="AP50 to gain, points")
    curves.legend(fontsize=7, frameon=False)
    best, rows = history.best, np.arange(len(Cause))
    costs.barh(rows, [_costs([best], cause)[0] for cause in Cause], color=colours)
    costs.set_yticks(rows, [cause.title for cause in Cause], fontsize=8)
    costs.set_title(f"the same at step {best.step}")
    for shift, kind, colour in ((-0.2, "false_positives", style.SKY), (0.2, "missed", style.INK)):
        numbers = [best.metrics.get(f"explain/{kind}/{cause.name.lower()}", 0.0) for cause in Cause]
        counts.barh(rows + shift, numbers, 0.36, color=colour, label=kind.replace("_", " "))
    counts.set_yticks(rows, [])
    counts.xaxis.set_major_locator(MaxNLocator(integer=True))
    counts.set_title("numbers of errors")
    counts.legend(fontsize=8, frameon=False)
    for axis in (curves, costs, counts):
        style.plain(axis)
        axis.title.set_fontsize(10)
    costs.invert_yaxis()
    counts.invert_yaxis()
    return figure


def sheet(validation: Validation) -> Figure:
    """The drawn frames of a validation."""
    if validation.sheet is None:
        return _note("nothing was drawn: images never are, and records.clips says how many videos are")
    image = read_image(validation.sheet)
    figure, axes = style.image_grid(1, 1, aspect=image.shape[0] / image.shape[1], title=0.0)
    style.show(axes[0, 0], image)
    return figure


def film(validation: Validation) -> Any:
    """The drawn videos of a validation side by side, as a notebook plays them."""
    from IPython.display import Video

    if validation.film is None:
        return _note("nothing was drawn: images never are, and records.clips says how many videos are")
    return Video(str(validation.film), embed=True)  # type: ignore[no-untyped-call]


def _note(text: str) -> Figure:
    figure, axis = style.chart(8.0, 0.6)
    style.bare(axis)
    axis.text(0, 0.5, text, fontsize=10, color=style.INK, va="center")
    return figure


def _costs(validations: Sequence[Validation], cause: Cause) -> list[float]:
    return [100 * one.metrics.get(f"explain/cost/{cause.name.lower()}", math.nan) for one in validations]


def _charts(series: Mapping[str, Series], *, colour: str, exact: Sequence[str] = ()) -> Figure:
    """A small chart of each series against optimiser steps, four in a row; all but the exact ones are noisy."""
    from matplotlib.figure import Figure

    rows = max(1, -(-len(series) // _COLUMNS))
    figure = Figure(figsize=(_COLUMNS * _CHART[0], rows * _CHART[1]), layout="constrained")
    axes: Any = figure.subplots(rows, _COLUMNS, squeeze=False)
    for axis, (name, one) in zip(axes.flat, series.items(), strict=False):
        _curve(axis, one, colour=colour, smooth=len(one) >= _SMOOTHED and name not in exact)
        axis.set_title(name.replace("_", " "), fontsize=9, color=style.INK)
        axis.tick_params(labelsize=7)
        style.plain(axis)
    for axis in list(axes.flat)[len(series) :]:
        axis.remove()
    if series:
        figure.supxlabel("optimiser steps", fontsize=8, color=style.INK)
    return figure


def _curve(axis: Axes, series: Series, *, colour: str, smooth: bool) -> None:
    """A line, or a pale one with a smooth one over it."""
    if not smooth:
        axis.plot(series.steps, series.values, color=colour, linewidth=1.2, marker="o" * (len(series) == 1))
        return
    axis.plot(series.steps, series.values, color=colour, linewidth=0.6, alpha=0.35)
    axis.plot(series.steps, _smooth(series.values), color=colour, linewidth=1.4)


def _smooth(values: Floats) -> Floats:
    """The mean of each value and those before it that are near, weights falling off exponentially."""
    keep = math.exp(-1 / max(1.0, _WINDOW * len(values)))
    result = np.empty_like(values)
    weighted = weight = 0.0
    for i, value in enumerate(values):
        if math.isfinite(value):
            weighted, weight = keep * weighted + value, keep * weight + 1
        result[i] = weighted / weight if weight else math.nan
    return result


def _one_line(best: Validation) -> str:
    metrics = ", ".join(f"{name} {100 * best.metrics[name]:.1f}" for name in _CURVES if name in best.metrics)
    return f"{metrics} at step {best.step}"
