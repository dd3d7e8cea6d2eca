"""The parts of a report that a run's folder tells: what ran, its curves, its configuration and environment."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stmask.evaluation.causes import Cause
from stmask.report.charts import Line, line_chart
from stmask.report.markup import Child, Markup, definitions, join, name, note, section, tag
from stmask.runs.folder import CHANGES, CONFIG
from stmask.runs.history import RunHistory, Series

_QUALITY = ("AP", "AP50", "AP75", "AR10")
_NOT_LOSSES = {"loss", "grad_norm", "positives", "skipped_steps"}
_OPTIMISATION = {
    "grad_norm": "gradient norm", "positives": "positive anchors per step", "skipped_steps": "skipped steps"
}  # fmt: skip
_PERFORMANCE = {
    "samples_per_second": "samples per second", "step_seconds": "seconds per step",
    "data_wait_share": "share waiting for data", "memory_gib": "memory, GiB", "gpu_memory_gib": "GPU memory, GiB",
}  # fmt: skip
_SECRET = re.compile(r"(api[-_]?key|token|secret|passw(or)?d|credential)", re.IGNORECASE)
_GIVEN = re.compile(r"(?P<key>[\w./@+~-]*)(?P<equals>\s*[=:]\s*)(?P<value>\S.*)")
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_HIDDEN = "(hidden)"
_MOST_CONFIG = 200_000  # letters


def facts(history: RunHistory) -> Markup:
    """What ran, on what, and how far it got."""
    origin, status = history.origin, history.status
    git, machine = _mapping(origin.get("git")), _mapping(origin.get("machine"))
    parameters, seconds = origin.get("parameters"), history.summary.get("train_seconds")
    commit = f"{git.get('commit')}"[:10] + (
        f", with changes ({CHANGES} in the run's folder)" if git.get("dirty") else ""
    )
    best = f"step {history.best.step}, of {len(history.validations)} validations" if history.validations else None
    return definitions(
        {
            "run": name(f"{origin.get('experiment') or history.config.get('name')}, seed {history.config.get('seed')}"),
            "state": status.state + (f": {without_secrets(status.error)}" if status.error else ""),
            "network": _network(history.config, parameters),
            "trained": _duration(seconds) + _attempts(status.attempts) if _is_number(seconds) else None,
            "best": best,
            "machine": _machine(machine),
            "code": name(commit) if git else None,
            "started": status.started,
        }
    )


def curves(history: RunHistory) -> Markup:
    """Metrics at validations, losses, optimisation and speed, against optimiser steps."""
    train, rates = history.starting_with("train/"), history.starting_with("lr-")
    losses = [_small("loss (sum)", train["loss"], 2)] if "loss" in train else []
    losses += [_small(term, one, 2) for term, one in train.items() if term not in _NOT_LOSSES]
    optimisation = [_small(f"learning rate ({group})", one, 3, bottom=0) for group, one in rates.items()]
    optimisation += [_small(title, train[key], 3, bottom=0) for key, title in _OPTIMISATION.items() if key in train]
    speed = history.starting_with("performance/")
    performance = [_small(title, speed[key], 4, bottom=0) for key, title in _PERFORMANCE.items() if key in speed]
    return section(
        "curves",
        "Curves",
        *_group("Metrics of the validations", _quality(history), "large"),
        *_group("Losses, as weighted", losses),
        *_group("Optimisation", optimisation),
        *_group("Speed and memory", performance),
        None if train else note("No step of training was logged yet."),
    )


def _quality(history: RunHistory) -> list[Markup]:
    if not history.validations:
        return [note("No validation was recorded.")]
    steps = np.array([one.step for one in history.validations], dtype=np.float64)

    def lines(keys: Mapping[str, str]) -> list[Line]:
        return [
            Line(label, steps, np.array([100 * one.metrics.get(key, math.nan) for one in history.validations]), colour)
            for colour, (key, label) in enumerate(keys.items(), start=1)
        ]

    costs = {f"explain/cost/{cause.name.lower()}": cause.title for cause in Cause}
    both: dict[str, Any] = {"bottom": 0.0, "mark": float(history.best.step), "size": "large"}
    title = "AP and its relatives; the dotted line is the best validation"
    return [
        line_chart(title, lines({key: key for key in _QUALITY}), unit="%", **both),
        line_chart("What each cause of error costs, in points of AP50", lines(costs), **both),
    ]


def _group(title: str, charts: Sequence[Markup], kind: str = "small") -> list[Markup]:
    charts = [chart for chart in charts if chart]
    return [tag("h3", title), tag("div", *charts, class_=f"charts {kind}")] if charts else []


def _small(title: str, series: Series, colour: int, **how: Any) -> Markup:
    line = Line(title, series.steps.astype(np.float64), series.values, colour)
    return line_chart(title.replace("_", " "), [line], **how)


def setup(history: RunHistory) -> Markup:
    """How to repeat the run: its command, overrides, configuration and environment, without secrets."""
    origin = history.origin
    command = shlex.join([without_secrets(word) for word in _words(origin.get("command"))])
    overrides = [without_secrets(word) for word in _words(origin.get("overrides"))]
    return section(
        "setup",
        "Configuration and environment",
        join(tag("h3", "Command"), _code(command)) if command else None,
        join(tag("h3", "Overrides"), _code("\n".join(overrides))) if overrides else None,
        tag("h3", "Environment"),
        definitions(_environment(origin)) if origin else note("The run's folder has no run.json that says it."),
        tag("details", tag("summary", f"Configuration ({CONFIG})"), _code(_config_text(history))),
    )


def _code(text: str) -> Markup:
    return tag("pre", tag("code", text), tabindex="0")


def _environment(origin: Mapping[str, Any]) -> dict[str, Child]:
    machine, versions = _mapping(origin.get("machine")), _mapping(origin.get("versions"))
    there = [f"{package} {version}" for package, version in versions.items() if version]
    return {
        "system": name(machine["system"]) if machine.get("system") else None,
        "computer": _machine(machine),
        "threads": machine.get("threads") if _is_number(machine.get("threads")) else None,
        "versions": ", ".join(there) or None,
    }


def _machine(machine: Mapping[str, Any]) -> str | None:
    gpus = [str(gpu) for gpu in machine.get("gpus") or ()]
    cpus = f"{machine['cpus']} CPU cores" if machine.get("cpus") else None
    return ", ".join(filter(None, [*gpus, cpus])) or None


def _network(config: Mapping[str, Any], parameters: object) -> str | None:
    kind = str(_mapping(config.get("model")).get("_target_") or "").rpartition(".")[2]
    size = f"{parameters / 1e6:.1f} million parameters" if isinstance(parameters, (int, float)) else ""
    return ", ".join(filter(None, (kind, size))) or None


def _config_text(history: RunHistory) -> str:
    try:
        text = (history.folder / CONFIG).read_text(encoding="utf-8", errors="replace")[:_MOST_CONFIG]
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "\n".join(map(without_secrets, text.splitlines()))


def without_secrets(text: object) -> str:
    """A word or line without passwords: values of keys that are named like one, and logins in addresses."""
    line = _LOGIN.sub(f"{_HIDDEN}@", str(text))
    found = _GIVEN.search(line)
    if found and _SECRET.search(found["key"]) and found["value"].strip() not in ("null", "''", '""'):
        return line[: found.start("value")] + _HIDDEN
    return line


def _words(value: object) -> Iterator[str]:
    for word in value if isinstance(value, (list, tuple)) else ():
        yield str(word)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _attempts(count: int) -> str:
    return f", in {count} attempts" if count > 1 else ""


def _duration(seconds: Any) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
