"""Charts as inline SVG: their colours are those of the page, light or dark, and their words can be read aloud."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stmask.report.markup import Markup, tag

Floats = npt.NDArray[np.float64]

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 34
_SIZES = {"small": (320, 170), "large": (520, 290)}  # of the drawing, in the units of its letters
_MOST_POINTS = 160  # of a line; more become a mean and a band from least to most
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_DOTTED = 40  # points up to which each is marked


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart.

    Attributes:
        label: in the legend.
        x, y: (N,) ascending, and values; those that are not finite are gaps.
        colour: 1 to 8, of the page's palette.
    """

    label: str
    x: Floats
    y: Floats
    colour: int


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str = "optimiser steps",
    unit: str = "",
    bottom: float | None = None,
    top: float | None = None,
    mark: float | None = None,
    size: str = "small",
) -> Markup:
    """A figure with its title, legend (for more than one line) and drawing.

    Args:
        unit: written after values, such as "%".
        bottom, top: of the vertical axis where it does not follow the values.
        mark: a place on the horizontal axis to draw a line at ("best").
        size: small or large.
    """
    lines = [line for line in lines if np.isfinite(line.y).any()]
    if not lines:
        return Markup("")
    x_low, x_high = _extent([line.x for line in lines])
    y_low, y_high = _extent([line.y for line in lines])
    y_low = y_low if bottom is None else bottom
    y_high = y_high if top is None else top
    plot = _Plot(size, (x_low, x_high), _padded(y_low, y_high, fixed=(bottom is not None, top is not None)))
    drawn = [*plot.axes(x_label, unit=unit)]
    if mark is not None:
        drawn.append(tag("line", x1=f"{plot.x(mark):.1f}", x2=f"{plot.x(mark):.1f}", y1=_TOP,
                         y2=plot.height - _BOTTOM, class_="mark"))  # fmt: skip
    for line in lines:
        drawn.extend(_drawn(plot, line, unit=unit))
    words = "; ".join(_in_words(line, unit=unit) for line in lines)
    svg = tag("svg", *drawn, viewBox=f"0 0 {plot.width} {plot.height}", role="img", aria_label=f"{title}. {words}",
              class_=f"chart {size}")  # fmt: skip
    legend = [tag("span", tag("i", class_=f"c{line.colour}"), line.label) for line in lines]
    shown = tag("p", *legend, class_="legend", aria_hidden="true") if len(lines) > 1 else None
    return tag("figure", tag("figcaption", title), shown, svg, class_=f"chart {size}")


def bar(share: float, text: str, *, colour: int) -> Markup:
    """A number with a bar as long as its share, 0 to 1, of the cell that it is in."""
    width = 100 * min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
    drawn = tag("i", class_=f"c{colour}", style=f"width:{width:.1f}%", aria_hidden="true")
    return tag("span", tag("span", drawn, class_="track"), tag("b", text), class_="bar")


class _Plot:
    """From values to places in a drawing."""

    def __init__(self, size: str, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.width, self.height = _SIZES[size]
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / ((high - low) or 1.0) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return self.height - _BOTTOM - (value - low) / ((high - low) or 1.0) * (self.height - _TOP - _BOTTOM)

    def axes(self, x_label: str, *, unit: str) -> list[Markup]:
        parts = []
        for value in _ticks(*self._y, count=4 if self.height < 200 else 6):
            at = f"{self.y(value):.1f}"
            parts.append(tag("line", x1=_LEFT, x2=self.width - _RIGHT, y1=at, y2=at, class_="grid"))
            parts.append(tag("text", short(value) + unit, x=_LEFT - 6, y=at, class_="y"))
        bottom = self.height - _BOTTOM
        for value in _ticks(*self._x, count=5):
            parts.append(tag("text", short(value), x=f"{self.x(value):.1f}", y=bottom + 14, class_="x"))
        parts.append(tag("line", x1=_LEFT, x2=self.width - _RIGHT, y1=bottom, y2=bottom, class_="axis"))
        middle = (_LEFT + self.width - _RIGHT) / 2
        parts.append(tag("text", x_label, x=middle, y=self.height - 4, class_="x label"))
        return parts


def _drawn(plot: _Plot, line: Line, *, unit: str) -> list[Markup]:
    x, y, low, high = _thinned(line)
    parts = []
    if low is not None and high is not None:
        there = np.isfinite(low) & np.isfinite(high)
        edge = [*zip(x[there], high[there]), *reversed(list(zip(x[there], low[there])))]
        path = " ".join(f"{plot.x(a):.1f},{plot.y(b):.1f}" for a, b in edge)
        parts.append(tag("path", d=f"M{path}Z", class_=f"band c{line.colour}"))
    parts.append(tag("path", d=_path(plot, x, y), class_=f"line c{line.colour}"))
    for a, b in zip(x.tolist(), y.tolist()) if len(x) <= _DOTTED else ():
        if math.isfinite(b):
            title = tag("title", f"{line.label}: {short(b)}{unit} at {short(a)}")
            dot = tag("circle", cx=f"{plot.x(a):.1f}", cy=f"{plot.y(b):.1f}", r=2.6, class_=f"c{line.colour}")
            parts.append(Markup(dot[:-2] + f">{title}</circle>"))
    return parts


def _path(plot: _Plot, x: Floats, y: Floats) -> str:
    words, pen = [], "M"
    for a, b in zip(x.tolist(), y.tolist()):
        if math.isfinite(b):
            words.append(f"{pen}{plot.x(a):.1f},{plot.y(b):.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(words)


def _thinned(line: Line) -> tuple[Floats, Floats, Floats | None, Floats | None]:
    """At most so many points; where there were more, the means of equal parts with their least and greatest values."""
    x, y = np.asarray(line.x, dtype=np.float64), np.asarray(line.y, dtype=np.float64)
    if len(x) <= _MOST_POINTS:
        return x, y, None, None
    parts = [(a, b[np.isfinite(b)]) for a, b in zip(np.array_split(x, _MOST_POINTS), np.array_split(y, _MOST_POINTS))]
    kept = [(a.mean(), b.mean(), b.min(), b.max()) for a, b in parts if len(b)]
    means, y, low, high = np.array(kept, dtype=np.float64).T
    return means, y, low, high


def _extent(values: Sequence[Floats]) -> tuple[float, float]:
    everything = np.concatenate([np.asarray(one, dtype=np.float64) for one in values])
    finite = everything[np.isfinite(everything)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def _padded(low: float, high: float, *, fixed: tuple[bool, bool]) -> tuple[float, float]:
    """With room around the values, and never of height 0."""
    if low == high:
        room = abs(low) * 0.1 or 1.0
        return (low if fixed[0] else low - room), high + room
    room = 0.04 * (high - low)
    return (low if fixed[0] else low - room), (high if fixed[1] else high + room)


def _ticks(low: float, high: float, *, count: int) -> list[float]:
    """Round numbers from low to high, about so many."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _STEPS if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number in a few letters."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    if abs(value) >= 1e6 or abs(value) < 1e-4:
        return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e")
    if abs(value) >= 1e4:
        return f"{value / 1000:g}k" if value % 100 == 0 else f"{value / 1000:.1f}k"
    return f"{value:.4g}"


def _in_words(line: Line, *, unit: str) -> str:
    there = np.flatnonzero(np.isfinite(line.y))
    first, last = there[0], there[-1]
    lowest, highest = float(np.min(line.y[there])), float(np.max(line.y[there]))
    said = f"{line.label}: {short(float(line.y[last]))}{unit} at {short(float(line.x[last]))}"
    if first == last:
        return said
    return f"{said}, from {short(float(line.y[first]))}{unit} at {short(float(line.x[first]))}, " \
           f"lowest {short(lowest)}{unit}, highest {short(highest)}{unit}"  # fmt: skip
