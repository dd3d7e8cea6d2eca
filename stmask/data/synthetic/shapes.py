"""The shape classes: outlines in a square of side 2 about the origin, and their anti-aliased coverage of pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Outline = tuple[FloatArray, ...]  # closed contours (P, 2), x to the right, y down; one inside another is a hole

_CURVE_POINTS = 72
_SUPERSAMPLING = 4
_SUBPIXEL_BITS = 4  # fixed-point vertices of cv2.fillPoly


def float_array(values: Any) -> FloatArray:
    """Nested numbers as a float32 array."""
    return np.array(values, dtype=np.float32)


def _arc(radius: float, start: float, stop: float, *, centre: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
    angle = np.linspace(start, stop, _CURVE_POINTS, endpoint=False)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1).astype(np.float32)


def _regular(corners: int, *, inner: float | None = None, turn: float = -np.pi / 2) -> FloatArray:
    """A regular polygon, or a star whose notches lie at radius `inner`; the first corner points up."""
    count = corners if inner is None else 2 * corners
    angle = turn + 2 * np.pi * np.arange(count) / count
    radius = np.ones(count) if inner is None else np.where(np.arange(count) % 2 == 0, 1.0, inner)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)


def _disc() -> Outline:
    return (_arc(0.9, 0, 2 * np.pi),)


def _square() -> Outline:
    return (0.82 * float_array([[-1, -1], [1, -1], [1, 1], [-1, 1]]),)


def _triangle() -> Outline:
    return (1.1 * _regular(3) + float_array([0, 0.2]),)


def _star() -> Outline:
    return (1.08 * _regular(5, inner=0.42),)


def _cross() -> Outline:
    a, b = 0.3, 0.98
    arm = float_array([(-a, -b), (a, -b), (a, -a)])  # a quarter of the way round
    quarter_turn = float_array([[0, 1], [-1, 0]])
    return (np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)]),)


def _ring() -> Outline:
    return _arc(0.95, 0, 2 * np.pi), _arc(0.5, 0, 2 * np.pi)


def _heart() -> Outline:
    t = np.linspace(0, 2 * np.pi, _CURVE_POINTS, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return ((np.stack([x, y - 2], axis=1) / 16).astype(np.float32),)


def _crescent() -> Outline:
    """A disc less a shifted disc; both arcs end in the two tips."""
    radius, shift, bite = 0.98, 0.5, 0.78
    tip_x = (radius**2 - bite**2 + shift**2) / (2 * shift)
    tip_y = float(np.sqrt(radius**2 - tip_x**2))
    outer = float(np.arctan2(tip_y, tip_x))
    inner = float(np.arctan2(tip_y, tip_x - shift))
    back = _arc(bite, -inner, inner - 2 * np.pi, centre=(shift, 0.0))
    return (np.concatenate([_arc(radius, outer, 2 * np.pi - outer), back]) + float_array([0.2, 0]),)


def _bar() -> Outline:
    return (float_array([[-1.15, -0.26], [1.15, -0.26], [1.15, 0.26], [-1.15, 0.26]]),)


SHAPES: dict[str, Callable[[], Outline]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "crescent": _crescent,
    "bar": _bar,
}
"""Name of a class -> the function that draws its outline."""


def transform(outline: Outline, matrix: FloatArray) -> Outline:
    """The outline moved by an affine matrix (2, 3)."""
    return tuple(contour @ matrix[:, :2].T + matrix[:, 2] for contour in outline)


def coverage(outline_px: Outline, height: int, width: int) -> tuple[FloatArray, tuple[slice, slice]] | None:
    """The coverage of each pixel by an outline in pixels, within its window of the frame.

    Returns:
        The coverage in [0, 1], (h, w), and the window's (rows, columns) in the frame; None when it lies outside.
    """
    points = np.concatenate(outline_px)
    x1, y1 = np.maximum(np.floor(points.min(axis=0)).astype(int), 0)
    x2, y2 = np.minimum(np.ceil(points.max(axis=0)).astype(int), (width, height))
    if x1 >= x2 or y1 >= y2:
        return None
    fine = np.zeros((_SUPERSAMPLING * (y2 - y1), _SUPERSAMPLING * (x2 - x1)), dtype=np.uint8)
    # Sample i of the fine grid has its centre at (i + 0.5) / _SUPERSAMPLING, and cv2 puts it at i.
    scale = _SUPERSAMPLING << _SUBPIXEL_BITS
    offset = float_array([x1, y1])
    contours = [
        np.rint((contour - offset) * scale - (1 << _SUBPIXEL_BITS) / 2).astype(np.int32) for contour in outline_px
    ]
    cv2.fillPoly(fine, contours, 255, lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    covered = cv2.resize(fine, (int(x2 - x1), int(y2 - y1)), interpolation=cv2.INTER_AREA)
    return float_array(covered) / np.float32(255), (slice(int(y1), int(y2)), slice(int(x1), int(x2)))
