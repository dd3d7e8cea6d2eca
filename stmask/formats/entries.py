"""The entries of a YouTube-VIS or COCO file: videos, images, categories and annotations, each checked by itself.

References to other entries are checked by whoever collects them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stmask.formats.fields import (
    LARGEST_INTEGER,
    WRONG_VALUE,
    EntryError,
    class_name,
    file_name,
    integer,
    is_number,
    kind_name,
    require_keys,
    shown,
    whole_number,
)
from stmask.formats.packed import PackedTrack

MAX_SIDE, MAX_PIXELS = 2**20, 2**30  # of a frame; OpenCV decodes no larger image
MAX_FRAMES = 10**6  # of a video: nine hours at 30 frames per second
KEY_MISSING = "a video with a key missing"
IMAGE_KEY_MISSING = "an image with a key missing"
CATEGORY_KEY_MISSING = "a category with a key missing"
TRACK_KEY_MISSING = "an annotation with a key missing"
WRONG_LENGTH = "a list of the wrong length"


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """A video; `file_names` is None if the file only states the number of frames."""

    id: int
    height: int
    width: int
    length: int
    file_names: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class TrackEntry:
    """An annotation of a video, or of an image as a video of one frame. Its lists have equal lengths.

    Attributes:
        segmentations: as in the file, see `stmask.formats.segmentation`.
        areas: numbers of at least 0, or None.
        occlusion: text or None.
    """

    id: int
    video_id: int
    category_id: int
    crowd: bool
    segmentations: list[Any] | PackedTrack
    areas: list[float | None] | None
    occlusion: list[str | None] | None


def read_video(entry: Any, *, with_files: bool) -> VideoEntry:
    """An entry of 'videos'; without `with_files` its 'length' is enough.

    Raises:
        EntryError: it cannot be used.
    """
    frames = "file_names" if with_files or (isinstance(entry, Mapping) and "file_names" in entry) else "length"
    entry = require_keys(entry, ("id", "height", "width", frames), kind=KEY_MISSING)
    names = _file_names(entry["file_names"]) if frames == "file_names" else None
    length = integer(entry, "length", minimum=1, maximum=MAX_FRAMES) if entry.get("length") is not None else None
    if names is None and length is None:
        raise EntryError(WRONG_VALUE, ": 'length' must be an integer of at least 1, got null")
    if names is not None and length not in (None, len(names)):
        raise EntryError(WRONG_LENGTH, f": 'length' is {length}, but it has {len(names)} 'file_names'")
    height, width = _size(entry)
    return VideoEntry(integer(entry, "id"), height, width, len(names) if names is not None else length or 0, names)


def read_image(entry: Any) -> VideoEntry:
    """An entry of 'images', as a video of one frame; raises `EntryError`."""
    entry = require_keys(entry, ("file_name",), kind=IMAGE_KEY_MISSING)
    entry = require_keys(entry, ("id", "height", "width"), kind=IMAGE_KEY_MISSING)
    names = _file_names([entry["file_name"]], key="file_name")
    height, width = _size(entry)
    return VideoEntry(integer(entry, "id"), height, width, 1, names)


def _file_names(names: Any, *, key: str = "file_names") -> tuple[str, ...]:
    if not isinstance(names, list) or not names:
        message = f": {key!r} must be a list of at least one file name, got {shown(names)}"
        raise EntryError("a video without frames", message)
    try:
        return tuple([file_name(name) for name in names])
    except ValueError as error:
        raise EntryError("a file name that cannot be used", f": {key!r}: {error}") from None


def _size(entry: Mapping[str, Any]) -> tuple[int, int]:
    height, width = (integer(entry, key, minimum=1, maximum=MAX_SIDE) for key in ("height", "width"))
    if height * width > MAX_PIXELS:
        raise EntryError(WRONG_VALUE, f": {width} x {height} are more pixels than any readable image has")
    return height, width


def read_category(entry: Any) -> tuple[int, str]:
    """The id and the name of an entry of 'categories'; raises `EntryError`."""
    entry = require_keys(entry, ("id", "name"), kind=CATEGORY_KEY_MISSING)
    return integer(entry, "id"), class_name(entry)


def read_track(entry: Any) -> TrackEntry:
    """An entry of 'annotations', of a video or of an image; its segmentations are not inspected.

    Raises:
        EntryError: it cannot be used.
    """
    of_image = is_of_image(entry)
    keys: tuple[str, ...]
    if of_image:
        needed = "'id', 'image_id', 'category_id' and 'segmentation' (is it a COCO instances file?)"
        keys = ("id", "image_id", "category_id", "segmentation")
        entry = _as_track(require_keys(entry, keys, kind=TRACK_KEY_MISSING, needed=needed))
    else:
        keys = ("id", "video_id", "category_id", "segmentations")
        entry = require_keys(entry, keys, kind=TRACK_KEY_MISSING)
    segmentations = entry["segmentations"]
    if not isinstance(segmentations, (list, PackedTrack)):
        found = f"got {kind_name(segmentations)}"
        raise EntryError(WRONG_LENGTH, f": 'segmentations' must be a list with one entry per frame, {found}")
    return TrackEntry(
        id=integer(entry, "id"),
        video_id=integer(entry, "image_id" if of_image else "video_id"),
        category_id=integer(entry, "category_id"),
        crowd=crowd(entry),
        segmentations=segmentations,
        areas=_areas(_per_frame(entry, "areas", len(segmentations))),
        occlusion=_occlusion(_per_frame(entry, "occlusion", len(segmentations))),
    )


def _as_track(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """An annotation of an image with lists of one entry."""
    box, area = entry.get("bbox"), entry.get("area")
    if box and not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
        raise EntryError(WRONG_VALUE, f": 'bbox' must be [x, y, width, height] or null, got {shown(box)}")
    areas = None if area is None else [area]
    return {**entry, "segmentations": [entry["segmentation"]], "areas": areas, "occlusion": None}


def is_of_image(entry: Any) -> bool:
    """Whether an annotation is a COCO one, of an image."""
    return isinstance(entry, Mapping) and "image_id" in entry and "segmentations" not in entry


def crowd(entry: Mapping[str, Any]) -> bool:
    """Whether an annotation is a crowd region; the default is no. Raises `EntryError`."""
    value = entry.get("iscrowd")
    if value is None or isinstance(value, bool):
        return bool(value)
    number = whole_number(value)
    if number not in (0, 1):
        raise EntryError(WRONG_VALUE, f": 'iscrowd' must be 0 or 1, got {shown(value)}")
    return number == 1


def _per_frame(entry: Mapping[str, Any], key: str, length: int) -> list[Any] | None:
    values = entry.get(key)
    if values is None:
        return None
    if not isinstance(values, list):
        raise EntryError(WRONG_VALUE, f": {key!r} must be a list with one entry per frame, got {kind_name(values)}")
    if len(values) != length:
        raise EntryError(WRONG_LENGTH, f": {key!r} has {len(values)} entries, 'segmentations' has {length}")
    return values


def _areas(values: list[Any] | None) -> list[float | None] | None:
    numbers = [value for value in values or () if value is not None]
    if set(map(type, numbers)) <= {int} and min(numbers, default=0) >= 0 and max(numbers, default=0) < LARGEST_INTEGER:
        return values  # as usual, without a look at each
    for value in numbers:
        if not (is_number(value) and value >= 0):
            raise EntryError(WRONG_VALUE, f": 'areas' must hold numbers or null, got {shown(value)}")
    return values


def _occlusion(values: list[Any] | None) -> list[str | None] | None:
    for value in values or ():
        if value is not None and not isinstance(value, str):
            raise EntryError(WRONG_VALUE, f": 'occlusion' must hold text or null, got {shown(value)}")
    return values
