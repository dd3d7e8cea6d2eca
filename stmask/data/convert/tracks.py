"""The entries of a YouTube-VIS document, and notes about a conversion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stmask.data.segmentation import measure, pack
from stmask.errors import DataError
from stmask.formats.fields import EntryError, integer

Document = dict[str, Any]


@dataclass(slots=True)
class Notes:
    """What a conversion left out or decided: each kind with its count and first case."""

    _found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, kind: str, first: str, *, count: int = 1) -> None:
        """Counts `count` more cases of a kind."""
        before, example = self._found.get(kind, (0, first))
        if count:
            self._found[kind] = (before + count, example)

    def __iter__(self) -> Iterator[str]:
        """One line per kind."""
        return (f"{kind}: {count}, first: {first}" for kind, (count, first) in self._found.items())


class KeyMissing(DataError):
    """An entry of a document lacks an indispensable key."""


def whole(entry: Document, key: str, where: str, *, minimum: int = 0, hint: str = "") -> int:
    """The integer entry[key], see `stmask.formats.fields.integer`.

    Raises:
        DataError: it is missing or not an integer; the message begins with `where` and ends with `hint`.
    """
    if key not in entry:
        raise KeyMissing(f"{where} needs {key!r}")
    try:
        return integer(entry, key, minimum=minimum)
    except EntryError as error:
        raise DataError(f"{where}{error}{hint}") from None


def with_slashes(name: str, notes: Notes) -> str:
    """A file name from an annotation file, with / in place of Windows separators."""
    if "\\" not in name:
        return name
    notes.add("file names with Windows separators, written with /", name)
    return name.replace("\\", "/")


def encode(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (height, width) as compressed run lengths."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def video(number: int, names: Sequence[str], *, height: int, width: int) -> Document:
    """An entry of 'videos'."""
    return {"id": number, "width": width, "height": height, "length": len(names), "file_names": list(names)}


def track(
    number: int, segmentations: Sequence[Any], *, video: int, category: int, height: int, width: int, crowd: int = 0
) -> Document:
    """An entry of 'annotations', its boxes and areas measured; segmentations without a pixel become null.

    Raises:
        ValueError: a segmentation that cannot be read or is of another size.
    """
    shapes, boxes, areas = [], [], []
    for segmentation in segmentations:
        encoding, data, size = pack(segmentation)
        if size not in (None, (height, width)):
            raise ValueError(f"'size' is {list(size or ())}, its video is {[height, width]} (height, width)")
        area, box = measure(encoding, data, height, width)
        shapes.append(segmentation if area else None)
        boxes.append([float(n) for n in box] if area else None)
        areas.append(float(area) if area else None)
    return {
        "id": number,
        "video_id": video,
        "category_id": category,
        "iscrowd": crowd,
        "width": width,
        "height": height,
        "length": len(shapes),
        "segmentations": shapes,
        "bboxes": boxes,
        "areas": areas,
    }
