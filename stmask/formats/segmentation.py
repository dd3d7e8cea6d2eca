"""One object's mask in one frame, in file form: nothing, run lengths (as text or as a list) or polygons.

Nothing means null or an empty container: [], {}, [[]]. Anything else incomplete is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from stmask.formats.entries import MAX_SIDE
from stmask.formats.fields import is_number, kind_name, shown, whole_number

_WANTED = "a polygon must be a list of at least three x, y pairs, in a list of polygons: [[x, y, x, y, x, y, ...], ...]"
_REACH = 10  # how far outside the frame a polygon may go, in lengths of the frame's longer side
_MERGED_AT_ONCE = 64
_LARGEST_RUN = 2**32 - 1  # as pycocotools keeps them


@dataclass(frozen=True, slots=True)
class RunLengths:
    """COCO's compressed run lengths, not decoded, of a frame of `size` (height, width); `empty`: background only."""

    size: tuple[int, int]
    counts: str
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Polygons:
    """Polygons [x, y, x, y, ...] in pixels; every coordinate is finite.

    Attributes:
        reach: the largest coordinate, without its sign.
        length: a bound of the length of all outlines together, in pixels.
    """

    points: list[list[float]]
    reach: float
    length: float


def read_segmentation(value: Any) -> RunLengths | Polygons | None:
    """The content of an entry of 'segmentations'; None if the object is absent.

    Raises:
        ValueError: it has none of the forms; the message says what is wrong with it.
    """
    if value is None:
        return None
    if isinstance(value, dict):
        return _read_run_lengths(value) if value else None
    if isinstance(value, list):
        return _read_polygons(value) if any(polygon != [] for polygon in value) else None
    raise ValueError(f"expected null, run lengths or polygons, got {shown(value)}")


def _read_run_lengths(value: dict[str, Any]) -> RunLengths:
    if "size" not in value or "counts" not in value:
        raise ValueError("run lengths need the keys 'size' ([height, width]) and 'counts'")
    size, counts = _read_size(value["size"]), value["counts"]
    if isinstance(counts, str):
        if not counts or not counts.isascii():
            raise ValueError("'counts' is not the text of compressed run lengths")
        return RunLengths(size, counts)
    if not isinstance(counts, list):
        raise ValueError(f"'counts' must be a string or a list of run lengths, got {kind_name(counts)}")
    if not counts:
        raise ValueError("'counts' must be a list of run lengths that fill the frame, it is empty")
    runs = counts if set(map(type, counts)) == {int} else list(map(whole_number, counts))
    for position, run in enumerate(runs):
        if run is None or run < 0:
            found = shown(counts[position])
            raise ValueError(f"'counts' must be a list of run lengths, integers of at least 0: it holds {found}")
    height, width = size
    if (covered := sum(runs)) != height * width or covered > _LARGEST_RUN:
        raise ValueError(f"the run lengths cover {shown(covered)} of {shown(height * width)} pixels")
    compressed = coco_mask.frPyObjects({"size": list(size), "counts": runs}, *size)["counts"].decode("ascii")
    return RunLengths(size, compressed, empty=len(runs) == 1)


def _read_size(size: Any) -> tuple[int, int]:
    sides = [whole_number(side) for side in size] if isinstance(size, list) else []
    whole = [side for side in sides if side is not None and 1 <= side <= MAX_SIDE]
    if len(sides) != 2 or len(whole) != 2:
        raise ValueError(f"'size' must be [height, width], two integers from 1 to {MAX_SIDE}, got {shown(size)}")
    return whole[0], whole[1]


def _read_polygons(polygons: list[Any]) -> Polygons:
    reach = length = 0.0
    for number, polygon in enumerate(polygons):
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"{_WANTED}; {_shape_fault(polygons, number)}")
        if not set(map(type, polygon)) <= {int, float}:
            raise ValueError(f"{_WANTED}; {_content_fault(polygon, number)}")
        low, high = min(polygon), max(polygon)
        if not all(map(is_number, polygon)):  # inf and NaN, which no comparison finds, and integers beyond all floats
            bad = next(point for point in polygon if not is_number(point))
            raise ValueError(f"polygon {number} holds {shown(bad)}, which is not a finite number")
        reach = max(reach, float(-low), float(high))
        length += len(polygon) / 2 * (float(high) - float(low))
    return Polygons(polygons, reach, length)


def _shape_fault(polygons: list[Any], number: int) -> str:
    """A description of what is wrong with the form of a polygon."""
    polygon = polygons[number]
    if all(is_number(value) for value in polygons):
        return "this is one flat list: write [[x, y, ...]]"
    pairs = polygon if isinstance(polygon, list) and polygon and isinstance(polygon[0], list) else polygons
    if all(isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in pairs):
        return "these are pairs [x, y]: write the numbers one after the other, [[x, y, x, y, ...]]"
    if not isinstance(polygon, list):
        return f"polygon {number} is {shown(polygon)}"
    if len(polygon) % 2:
        return f"polygon {number} has {len(polygon)} numbers"
    return f"polygon {number} has {len(polygon) // 2} points"


def _content_fault(polygon: list[Any], number: int) -> str:
    if all(isinstance(pair, list) and len(pair) == 2 for pair in polygon):
        return "these are pairs [x, y]: write the numbers one after the other, [[x, y, x, y, ...]]"
    bad = next(value for value in polygon if type(value) not in (int, float))
    return f"polygon {number} holds {shown(bad)}, which is not a number"


def is_drawable(reach: float, length: float, height: int, width: int) -> bool:
    """Whether polygons with these bounds are near enough to their frame, and short enough, to be certainly drawable.

    pycocotools walks along every outline pixel by pixel, even outside the frame.

    """
    return reach <= (_REACH + 1) * max(height, width) and length <= _longest_outline(height, width)


def _longest_outline(height: int, width: int) -> int:
    """Pixels; no outline of a real object is longer, even one that passes each pixel of a small frame twice."""
    return min(2 * height * width + 2**16, 2**22)


def draw_polygons(points: list[list[float]], height: int, width: int) -> bytes:
    """The union of polygons as compressed run lengths.

    Raises:
        ValueError: they lie far outside the frame, or their outlines are longer than any in such a frame.
    """
    outlines = [np.asarray(polygon, dtype=np.float64).reshape(-1, 2) for polygon in points]
    limit = (_REACH + 1) * max(height, width)
    for number, outline in enumerate(outlines):
        if not np.abs(outline).max() <= limit:
            x, y = outline[np.abs(outline).max(axis=1).argmax()]
            frame = f"its frame of {width} x {height} pixels"
            raise ValueError(f"polygon {number} has the point ({x:g}, {y:g}), far outside {frame}")
    length = sum(np.abs(np.diff(outline, axis=0, append=outline[:1])).max(axis=1).sum() for outline in outlines)
    if length > _longest_outline(height, width):
        raise ValueError(f"the outlines are {length:.3g} pixels long, too long for a frame of {width} x {height}")
    parts = coco_mask.frPyObjects(points, height, width)
    while len(parts) > 1:  # in groups, because each union is traversed for every polygon added to it
        groups = range(0, len(parts), _MERGED_AT_ONCE)
        parts = [coco_mask.merge(parts[first : first + _MERGED_AT_ONCE]) for first in groups]
    counts: bytes = parts[0]["counts"]
    return counts
