"""Writes a copy of an annotation file with everything fixed that can be fixed without guessing.

All other text is copied unchanged, layout included.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stmask.data.segmentation import Encoding, decode, measure, pack
from stmask.data.stated import BOX_TOLERANCE, Box, area_is_off, box_error, lists_of, numbers, values_of
from stmask.errors import DataError
from stmask.files import atomic_open
from stmask.formats.entries import read_image, read_video
from stmask.formats.fields import EntryError, is_number

_SPACE = re.compile(r"[ \t\n\r]*")
_LISTS = ("videos", "images", "annotations")

DEGENERATE = "degenerate polygons beside good ones left out"
NESTING = "polygons brought into the form [[x, y, x, y, ...], ...]"
EMPTY = "masks without a pixel made null"
BOXES = "boxes taken from their masks"
AREAS = "areas taken from their masks"
NOTHING = "annotations that are null left out"
TWICE = "annotations that repeat another one left out"


def fix_file(path: Path, out: Path) -> Counter[str]:
    """Writes a fixed copy of an annotation file and counts what was done, by kind.

    Raises:
        OutputError: `out` cannot be written. DataError: the file is not JSON.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        fixer = _Fixer()
        pieces = list(fixer.pieces(text))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be fixed, it is not valid JSON in UTF-8") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    with atomic_open(out, "wb") as file:
        for piece in pieces:
            file.write(piece.encode("utf-8", "surrogatepass"))
    return +fixer.done  # without the kinds that did not occur


@dataclass(slots=True)
class _Fixer:
    """Fixes the annotations of one file; `done` counts the fixes by kind."""

    done: Counter[str] = field(default_factory=Counter)
    sizes: dict[Any, tuple[int, int, int]] = field(default_factory=dict)  # by id: height, width, frames
    seen: dict[Any, list[dict[str, Any]]] = field(default_factory=dict)

    def pieces(self, text: str) -> Iterator[str]:
        """The text of the fixed file, piece by piece."""
        places = []
        for key, start, end, value in _entries(text):
            if key == "annotations":
                places.append((start, end))
            else:
                self._take_owner(key, value)
        position, kept = 0, 0
        for start, end in places:
            entry = json.loads(text[start:end])
            fixed = self._entry(entry)
            if fixed is None:
                # what stands before it goes with it; before the first that is kept, what stands after it does
                position = end if kept else position
                if not kept:
                    yield text[position:start]
                    position = _after_comma(text, end)
                continue
            yield text[position:start]
            yield text[start:end] if fixed is entry else json.dumps(fixed)
            position, kept = end, kept + 1
        yield text[position:]

    def _take_owner(self, key: str, video: Any) -> None:
        """What a video or an image says of its size; videos that only group images say nothing."""
        try:
            owner = read_image(video) if key == "images" else read_video(video, with_files=True)
        except EntryError:
            return  # stays as it is, and is named by the check
        self.sizes[owner.id] = (owner.height, owner.width, owner.length)

    def _entry(self, entry: Any) -> Any:
        """As `fix`, for whatever is in the list of annotations."""
        if entry is None:
            self.done[NOTHING] += 1
        return self.fix(entry) if isinstance(entry, dict) else entry

    def fix(self, annotation: dict[str, Any]) -> dict[str, Any] | None:
        """The annotation with its mistakes fixed, itself if there were none, None if it is to be left out."""
        masks_key, boxes_key, areas_key = lists_of(annotation)
        owner = annotation.get("video_id" if masks_key == "segmentations" else "image_id")
        masks = values_of(annotation, masks_key) or [None]
        height, width, frames = self.sizes.get(owner, (0, 0, 0)) if isinstance(owner, (int, float)) else (0, 0, 0)
        if len(masks) != frames:
            return annotation  # there is no telling what is meant
        fresh = [self._mask(mask, height, width) for mask in masks]
        shapes = [_measured(mask, height, width) for mask in fresh]
        for position, shape in enumerate(shapes):
            if shape is not None and shape[0] == 0:
                fresh[position] = shapes[position] = None
                self.done[EMPTY] += 1
        gone = [new is None and old is not None for old, new in zip(masks, fresh, strict=True)]
        changes: dict[str, list[Any]] = {}
        if any(new is not old for new, old in zip(fresh, masks, strict=True)):
            changes[masks_key] = fresh
        for key, kind in ((boxes_key, BOXES), (areas_key, AREAS)):
            values = self._stated(values_of(annotation, key), shapes, gone, kind=kind)
            if values is not None:
                changes[key] = values
        if self._is_repeated(annotation | {"masks": fresh}, owner, shapes):
            self.done[TWICE] += 1
            return None
        if not changes:
            return annotation
        return annotation | {key: values if key.endswith("s") else values[0] for key, values in changes.items()}

    def _mask(self, mask: Any, height: int, width: int) -> Any:
        """The segmentation with everything fixed that can be; itself if there was nothing to fix."""
        if mask in ({}, ""):
            self.done[EMPTY] += 1
            return None
        if not isinstance(mask, list) or not mask:
            return mask
        polygons = _polygons(mask)
        good = [polygon for polygon in polygons if not _is_degenerate(polygon)]
        if not good:
            if all(polygon in (None, []) for polygon in polygons):
                self.done[EMPTY] += 1
                return None
            return mask  # there is no telling what is meant
        if _measured(good, height, width) is None:
            return mask
        self.done[DEGENERATE] += len(polygons) - len(good)
        self.done[NESTING] += polygons is not mask
        return mask if polygons is mask and len(good) == len(mask) else good

    def _stated(
        self, values: list[Any] | None, shapes: list[tuple[int, Box] | None], gone: list[bool], *, kind: str
    ) -> list[Any] | None:
        """The boxes or areas of an annotation with those that disagree with the masks put right; None if none does."""
        if values is None:
            return None
        fits = len(values) == len(shapes)
        fixed = list(values) if fits else [None] * len(shapes)
        for position, shape in enumerate(shapes):
            if shape is not None and not (fits and _agrees(values[position], shape, kind=kind)):
                fixed[position] = [float(n) for n in shape[1]] if kind == BOXES else float(shape[0])
                self.done[kind] += 1
            elif gone[position]:
                fixed[position] = None
        return fixed if fixed != values else None

    def _is_repeated(self, annotation: dict[str, Any], owner: Any, shapes: list[tuple[int, Box] | None]) -> bool:
        """Whether an earlier annotation of the video has the same class and, in every frame, the same mask."""
        height, width, _ = self.sizes[owner]
        if not any(shapes):
            return False
        crowd = bool(annotation.get("iscrowd"))
        key = (owner, str(annotation.get("category_id")), crowd, tuple(shapes))
        earlier = self.seen.setdefault(key, [])
        for other in earlier:
            pairs = zip(annotation["masks"], other["masks"], strict=True)
            if all(a == b or np.array_equal(_drawn(a, height, width), _drawn(b, height, width)) for a, b in pairs):
                return True
        earlier.append({"masks": annotation["masks"]})
        return False


def _entries(text: str) -> Iterator[tuple[str, int, int, Any]]:
    """(key, start, end, value) of every element of the lists of an annotation file."""
    scan = json.JSONDecoder().raw_decode

    def skip(position: int, character: str = "") -> int:
        position = _SPACE.match(text, position).end()  # type: ignore[union-attr]
        return position + (character != "" and text[position : position + 1] == character)

    position = skip(0, "{")
    position = skip(position)
    while text[position : position + 1] not in ("}", ""):
        key, position = scan(text, position)
        position = skip(skip(position), ":")
        position = skip(position)
        if key in _LISTS and text[position : position + 1] == "[":
            position = skip(position + 1)
            while text[position : position + 1] not in ("]", ""):
                value, end = scan(text, position)
                yield key, position, end, value
                position = skip(skip(end, ","))
            position += 1
        else:
            _, position = scan(text, position)
        position = skip(skip(position, ","))


def _after_comma(text: str, position: int) -> int:
    """Where the element after one that ends at `position` begins, if there is one."""
    found = re.compile(r"[ \t\n\r]*,[ \t\n\r]*").match(text, position)
    return found.end() if found else position


def _polygons(mask: list[Any]) -> list[Any]:
    """The polygons of a segmentation, each a flat list; `mask` itself where it has this form, or an unknown one."""
    if _is_flat(mask):
        return [mask]
    if _is_pairs(mask):
        return [[number for pair in mask for number in pair]]
    if any(map(_is_pairs, mask)):
        return [[n for pair in polygon for n in pair] if _is_pairs(polygon) else polygon for polygon in mask]
    return mask


def _is_flat(value: Any) -> bool:
    """Whether this is a polygon of at least three points, x, y after x, y."""
    return isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(map(is_number, value))


def _is_pairs(value: Any) -> bool:
    """Whether this is a polygon of at least three points, each a list of its own."""
    if not isinstance(value, list) or len(value) < 3:
        return False
    return all(isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in value)


def _is_degenerate(polygon: Any) -> bool:
    """Whether a polygon has no area for certain: nothing, one or two points, or all points on a line."""
    if polygon is None or polygon == []:
        return True
    if not isinstance(polygon, list) or len(polygon) % 2 or not all(map(is_number, polygon)):
        return False
    points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    if np.abs(points).max() > 1e9:
        return False
    offsets = points - points[0]
    farthest = offsets[np.abs(offsets).max(axis=1).argmax()]
    return bool((np.abs(offsets[:, 0] * farthest[1] - offsets[:, 1] * farthest[0]) < 1e-9).all())


def _measured(mask: Any, height: int, width: int) -> tuple[int, Box] | None:
    """Area and box of a segmentation; None for one that is absent or cannot be read."""
    try:
        encoding, data, size = pack(mask)
        if encoding == Encoding.ABSENT or size not in (None, (height, width)):
            return None
        return measure(int(encoding), data, height, width)
    except (TypeError, ValueError):
        return None


def _drawn(mask: Any, height: int, width: int) -> Any:
    try:
        encoding, data, _ = pack(mask)
        return decode(int(encoding), data, height, width)
    except (TypeError, ValueError):
        return None


def _agrees(value: Any, shape: tuple[int, Box], *, kind: str) -> bool:
    """Whether a stated box or area is that of a mask; one that is null is not."""
    try:
        stated = numbers(value, 4 if kind == BOXES else 1)
    except ValueError:
        return False
    area, box = shape
    if value is None:
        return False
    return box_error(stated, box) <= BOX_TOLERANCE if kind == BOXES else not area_is_off(stated[0], area, box)
