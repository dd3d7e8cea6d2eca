"""Boxes and areas that an annotation states beside its masks, and whether they agree with the masks.

Training does not use them, boxes are taken from the masks; but areas decide what the metric calls small or large, and
disagreement shows that a file is not what it seems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Box = tuple[int, int, int, int]  # x, y, width, height in pixels

BOX_TOLERANCE = 2.0  # pixels by which an annotated box may differ from its mask on any side
_AREA_TOLERANCE = 0.1  # of the area, plus a pixel along half of the box's outline: polygons have no pixels


def lists_of(annotation: dict[str, Any]) -> tuple[str, str, str]:
    """The keys of an annotation's masks, boxes and areas: one per frame, or those of an image."""
    if "segmentations" in annotation:
        return "segmentations", "bboxes", "areas"
    return "segmentation", "bbox", "area"


def values_of(annotation: dict[str, Any], key: str) -> list[Any] | None:
    """The values of an annotation under one of the keys of `lists_of`, per frame; None if it has none."""
    value = annotation.get(key)
    if value is None:
        return None
    return (value if isinstance(value, list) else []) if key.endswith("s") else [value]


def numbers(value: Any, count: int) -> tuple[float, ...]:
    """A stated box or area as finite numbers of at least 0 (a box may begin outside the frame), NaN for null.

    Raises:
        ValueError: it is something else.
    """
    if value is None:
        return (math.nan,) * count
    values = value if isinstance(value, list) else [value]
    if len(values) == count and all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in values):
        try:
            found = tuple(float(n) for n in values)
        except OverflowError:
            found = (math.inf,)
        if all(map(math.isfinite, found)) and min(found[-2:]) >= 0:
            return found
    raise ValueError(str(value)[:80])


def box_error(stated: Sequence[float], true: Box) -> float:
    """The largest distance of a side of a box (x, y, w, h) from that of its mask; 0 for a box that is not stated."""
    x, y, w, h = stated
    return 0.0 if math.isnan(x) else _distance((x, y, x + w, y + h), true)


def convention_of(stated: Sequence[float], true: Box, *, height: int, width: int) -> str | None:
    """The convention under which a box that disagrees with its mask would agree."""
    a, b, c, d = stated
    readings = {
        "x1, y1, x2, y2": (a, b, c, d),
        "centre x, centre y, width, height": (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    }
    if max(stated) <= 1:
        x, y, w, h = a * width, b * height, c * width, d * height
        readings = {
            "fractions of the frame": (x, y, x + w, y + h),
            "centre and size as fractions of the frame": (x - w / 2, y - h / 2, x + w / 2, y + h / 2),
        }
    return next((name for name, sides in readings.items() if _distance(sides, true) <= BOX_TOLERANCE), None)


def area_is_off(stated: float, area: int, box: Box) -> bool:
    """Whether an area cannot be that of a mask; False for one that is not stated."""
    return abs(stated - area) > _AREA_TOLERANCE * area + box[2] + box[3]


def _distance(sides: tuple[float, ...], true: Box) -> float:
    expected = (true[0], true[1], true[0] + true[2], true[1] + true[3])
    return max(abs(a - b) for a, b in zip(sides, expected, strict=True))


def stated_in(annotation: dict[str, Any], count: int) -> tuple[list[float], list[tuple[str, str]]]:
    """What an annotation of `count` frames states beside its masks.

    Returns:
        x, y, width, height and area of each frame one after the other, NaN where nothing is stated; and (kind, message)
        of what cannot be read.
    """
    found, wrong = np.full((count, 5), math.nan), []
    _, boxes, areas = lists_of(annotation)
    for key, columns in ((boxes, slice(0, 4)), (areas, slice(4, 5))):
        values = values_of(annotation, key)
        if values is not None and len(values) != count:
            wrong.append(("boxes or areas of the wrong length", f"{key!r} does not have {count} entries"))
            continue
        for frame, value in enumerate(values or ()):
            try:
                found[frame, columns] = numbers(value, columns.stop - columns.start)
            except ValueError as error:
                kind = "a box that cannot be read" if key == boxes else "an area that cannot be read"
                wrong.append((kind, f"{key}[{frame}] is {error}" if key.endswith("s") else f"{key!r} is {error}"))
    return found.ravel().tolist(), wrong
