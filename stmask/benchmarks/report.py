"""A benchmark's results as text: one table of times, one of stages, and ratios to other results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stmask.benchmarks.record import Report, Result

_NAME_LENGTH = 60  # of what stands in a table; of many columns less
_MANY, _SHORT = 4, 20


def table(report: Report) -> str:
    """The results of one run, its stages and what they time."""
    from rich.table import Table

    from stmask.evaluation.report import render

    results, full = _with_short_names(report.results)
    report = replace(report, results=results)
    codes = {result.code for result in results}
    shown = Table(report.kind, box=None, pad_edge=False)
    heads = ["ms", "10 %", "90 %", *(["FPS"] if report.unit == "frame" else []), "MiB", "x floor"]
    heads = [*(["code"] if len(codes) > 1 else []), *heads]
    heads += ["yardsticks"] if any(result.yardstick_ms for result in results) else []
    heads += ["relative"] if len(results) > 1 else []
    for head in heads:
        shown.add_column(head, justify="right")
    for result in results:
        cells = {
            "code": result.code,
            "ms": number(result.median),
            "10 %": number(result.percentile(10)),
            "90 %": number(result.percentile(90)),
            "MiB": f"{result.memory.get('cuda', result.memory['peak']):.0f}",
            "FPS": f"{1000 / result.median:.1f}",
            "x floor": _ratio(result.median, result.floor.milliseconds),
            "yardsticks": _ratio(result.median, result.yardstick_ms),
            "relative": _ratio(result.median, reference(result, results).median),
        }
        shown.add_row(result.name, *(cells[head] for head in heads))
    count = len(results[0].samples)
    lines = [
        *dict.fromkeys(str(result.conditions) for result in results),
        f"milliseconds per {report.unit}: median and percentiles of {count}; MiB: "
        f"{'of the GPU' if 'cuda' in results[0].memory else 'of the process'}, peak; code {', '.join(sorted(codes))}",
        render(shown),
        *(f"{short}: {name}" for short, name in full.items()),
        *(["", _stages(report), ""] if any(result.stages for result in results) else []),
        *(f"{name}: {meaning}" for name, meaning in report.stages.items() if _has(results, name)),
        *dict.fromkeys(_of(result, codes) + text for result in results for text in _about(result)),
    ]
    return "\n".join(lines)


def ratios(report: Report, other: Report) -> str:
    """Each result's times over those of the result of the same name in another report; single ones are a pair."""
    from rich.table import Table

    from stmask.evaluation.report import render

    single = len(report.results) == len(other.results) == 1
    shown = Table("against", box=None, pad_edge=False)
    for head in ("then", "now", "ms then", "ms now", "now / then", "floors now / then"):
        shown.add_column(head, justify="right")
    lines = []
    for result in report.results:
        found = [one for one in other.results if single or one.name == result.name]
        if not found:
            lines.append(f"{result.name} was not measured then")
            continue
        then = found[-1]
        floors = _ratio(_over(result), _over(then)) if _over(result) and _over(then) else "-"
        times = number(then.median), number(result.median), _ratio(result.median, then.median)
        shown.add_row(result.name, then.code, result.code, *times, floors)
        lines += [f"{result.name}: {one}" for one in result.conditions.differences(then.conditions)]
    warning = ["the conditions differ (now and then):"] if lines else []
    return "\n".join([render(shown), *warning, *lines])


def reference(result: Result, results: Sequence[Result]) -> Result:
    """What a result is compared with: that of the same name in other code, else the first one."""
    same = [one for one in results if one.name == result.name]
    return same[0] if len({one.code for one in results}) > 1 and len(same) > 1 else results[0]


def number(milliseconds: float) -> str:
    """Three significant digits or more."""
    return f"{milliseconds:.0f}" if milliseconds >= 1000 else f"{milliseconds:.{1 if milliseconds >= 10 else 3}f}"


def _with_short_names(results: Sequence[Result]) -> tuple[list[Result], dict[str, str]]:
    """Results whose long names are numbers, and these numbers' names."""
    names = list(dict.fromkeys(result.name for result in results))
    longest = _NAME_LENGTH if len(names) < _MANY else _SHORT
    short = {name: f"({i})" for i, name in enumerate(names, start=1) if len(name) > longest}
    named = [replace(result, name=short.get(result.name, result.name)) for result in results]
    return named, {number: name for name, number in short.items()}


def _has(results: Sequence[Result], stage: str) -> bool:
    return any(stage in result.stages for result in results)


def _stages(report: Report) -> str:
    from rich.table import Table

    from stmask.evaluation.report import render

    results = report.results
    several = len({result.code for result in results}) > 1
    shown = Table("stage, ms", box=None, pad_edge=False)
    for result in results:
        shown.add_column(f"{result.name} {result.code}" if several else result.name, justify="right")
    for name in [name for name in report.stages if _has(results, name)]:
        shown.add_row(name, *(number(result.stages[name]) if name in result.stages else "-" for result in results))
    return render(shown)


def _of(result: Result, codes: set[str]) -> str:
    return f"{result.name}{f' {result.code}' if len(codes) > 1 else ''}: "


def _about(result: Result) -> list[str]:
    """The floor, what was worked on, and notes."""
    floor, parts = result.floor, []
    if floor.flops is not None:
        parts.append(
            f"{floor.flops / 1e9:.1f} GFLOP"
            + _as("a matrix product", floor.product_ms)
            + _as("3 x 3 convolutions", floor.convolution_ms)
        )
    if floor.bytes is not None:
        parts.append(f"{floor.bytes / 1e6:.1f} MB" + _as("a copy", floor.copy_ms))
    lines = [f"floor: {', '.join(parts)}"] if parts else []
    if result.details:
        lines.append(", ".join(f"{name} {value:g}" for name, value in result.details.items()))
    if result.yardstick_ms is not None:
        lines.append(f"yardstick, ResNet-50 at 640 x 384 in float32: {number(result.yardstick_ms)} ms")
    return lines + ([result.note] if result.note else [])


def _as(what: str, milliseconds: float | None) -> str:
    return "" if milliseconds is None else f", {number(milliseconds)} ms as {what}"


def _ratio(value: float | None, unit: float | None) -> str:
    return "-" if value is None or not unit else f"{value / unit:.2f}"


def _over(result: Result) -> float | None:
    floor = result.floor.milliseconds
    return result.median / floor if floor else None
