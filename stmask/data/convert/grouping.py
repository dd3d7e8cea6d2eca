"""Groups the images of a COCO file into videos, in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

from stmask.data.convert.tracks import Document, KeyMissing, Notes, whole, with_slashes
from stmask.errors import DataError
from stmask.folders import natural_key
from stmask.formats.fields import LARGEST_INTEGER

_LEAST = -LARGEST_INTEGER  # frame numbers only determine the order
_NUMBERS = ("frame_index", "frame_id")  # keys that number the frames of a video; the first one counts


class Grouping(Enum):
    """What makes a video: images with one 'video_id', images in one folder, or each image by itself."""

    BY_ID = "by id"
    BY_FOLDER = "by folder"
    SINGLE_FRAMES = "single frames"


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image of a COCO file; `numbers` holds those of the keys above that it has."""

    image_id: int
    video_id: int | None
    name: str
    height: int
    width: int
    numbers: dict[str, int]


def read_images(document: Document, notes: Notes) -> list[CocoImage]:
    """The members of 'images', checked.

    Raises:
        DataError: naming the image and the key that is wrong.
    """
    images = document["images"]
    if not isinstance(images, list):
        raise DataError("'images' must be a list")
    frames: dict[int, CocoImage] = {}
    for position, image in enumerate(images):
        if not isinstance(image, dict):
            raise DataError(f"images[{position}] is not an object but {image!r}")
        number = whole(image, "id", f"images[{position}]")
        where = f"image {number}"
        width, height = (whole(image, key, where) for key in ("width", "height"))
        if "file_name" not in image:
            raise KeyMissing(f"{where} needs 'file_name'")
        if not isinstance(image["file_name"], str) or not image["file_name"]:
            raise DataError(f"{where}: 'file_name' must be the name of a file, got {image['file_name']!r}")
        if number in frames:
            raise DataError(f"image id {number} occurs twice")
        frames[number] = CocoImage(
            number,
            whole(image, "video_id", where) if image.get("video_id") is not None else None,
            with_slashes(image["file_name"], notes),
            height,
            width,
            {key: whole(image, key, where, minimum=_LEAST) for key in _NUMBERS if image.get(key) is not None},
        )
    return list(frames.values())


def group(
    document: Document, images: list[CocoImage], videos: Grouping, notes: Notes
) -> tuple[list[Document], dict[int, tuple[Document, int, CocoImage]]]:
    """The entries of 'videos' with their frames in order, and for each image its video and its position there.

    Raises:
        DataError: the video of an image, or the order of a video's frames, is ambiguous.
    """
    groups = _groups(images, videos, notes)
    known = _known(document) if videos == Grouping.BY_ID and any(i.video_id is not None for i in images) else {}
    entries: list[Document] = []
    places: dict[int, tuple[Document, int, CocoImage]] = {}
    owners: dict[str, int] = {}
    for number, (frames, more) in groups.items():
        stated = known.get(number, {})
        if known and not stated:
            raise DataError(f"image {frames[0].image_id}: 'video_id' is {number}, which is not in 'videos'")
        _require_one_size(number, stated, frames)
        frames = _in_order(f"video {number}", frames, notes)
        entry = {
            **{key: value for key, value in stated.items() if key != "file_names"},
            "id": number,
            **more,
            "width": frames[0].width,
            "height": frames[0].height,
            "length": len(frames),
            "file_names": [frame.name for frame in frames],
        }
        entries.append(entry)
        for frame in frames:
            if owners.setdefault(frame.name, number) != number:
                notes.add("images whose file is in another video too", f"{frame.name} in video {number}")
        places |= {frame.image_id: (entry, position, frame) for position, frame in enumerate(frames)}
    empty = [f"video {number}" for number in known if number not in groups]
    if empty:
        notes.add("videos without an image, left out", empty[0], count=len(empty))
    return entries, places


def _groups(images: list[CocoImage], videos: Grouping, notes: Notes) -> dict[int, tuple[list[CocoImage], Document]]:
    """By video number: its images, and what else is known about it."""
    if videos == Grouping.BY_FOLDER:
        folders: dict[str, list[CocoImage]] = {}
        for image in images:
            folders.setdefault(str(PurePosixPath(image.name).parent), []).append(image)
        named = ({} if folder == "." else {"name": folder} for folder in folders)
        return {n: (found, more) for n, (found, more) in enumerate(zip(folders.values(), named, strict=True), start=1)}
    without = [image for image in images if image.video_id is None]
    if videos == Grouping.BY_ID and 0 < len(without) < len(images):
        raise DataError(
            f"image {without[0].image_id} has no 'video_id' ({len(without)} of {len(images)} images have none): add it,"
            " or convert with --videos-by-folder (each folder is a video) or --single-frames (each image is one)"
        )
    if videos == Grouping.SINGLE_FRAMES or without:
        if without and videos == Grouping.BY_ID:
            kind = "images without 'video_id', each a video of one frame (--videos-by-folder puts them together)"
            notes.add(kind, f"image {without[0].image_id}", count=len(without))
        return {image.image_id: ([image], {}) for image in images}
    groups: dict[int, tuple[list[CocoImage], Document]] = {}
    for image in images:
        assert image.video_id is not None
        groups.setdefault(image.video_id, ([], {}))[0].append(image)
    return groups


def _known(document: Document) -> dict[int, Document]:
    """The entries of 'videos' by id; there may be none."""
    entries = document.get("videos") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError("'videos' must be a list of objects")
    known: dict[int, Document] = {}
    for position, entry in enumerate(entries):
        number = whole(entry, "id", f"videos[{position}]")
        if number in known:
            raise DataError(f"video id {number} occurs twice in 'videos'")
        known[number] = entry
    return known


def _require_one_size(number: int, stated: Document, frames: list[CocoImage]) -> None:
    where = f"video {number}"
    size = (frames[0].width, frames[0].height)
    if stated.get("width") is not None and stated.get("height") is not None:
        size = (whole(stated, "width", where), whole(stated, "height", where))
    for frame in frames:
        if (frame.width, frame.height) != size:
            said = f"image {frame.image_id} is {frame.width} x {frame.height}, its video {size[0]} x {size[1]}"
            raise DataError(f"{where}: {said} (width x height)")


def _in_order(where: str, frames: list[CocoImage], notes: Notes) -> list[CocoImage]:
    by_name = sorted(frames, key=lambda frame: natural_key(frame.name))
    if len(frames) == 1:
        return frames
    orders = [(key, _by_number(where, key, frames)) for key in _NUMBERS if any(key in f.numbers for f in frames)]
    if not orders:
        for one, other in itertools.pairwise(by_name):
            if natural_key(one.name) == natural_key(other.name):
                raise DataError(
                    f"images {one.image_id} and {other.image_id} of {where} have no 'frame_index' and names with the "
                    f"same number ({one.name}, {other.name}): which one comes first?"
                )
        notes.add("videos without 'frame_index' or 'frame_id', in the order of their file names", where)
        return by_name
    (key, order), *others = orders
    for second, different in others:
        if different != order:
            raise DataError(f"{where}: {key!r} and {second!r} order its images differently")
    if order != by_name:
        notes.add(f"videos where {key!r} disagrees with the numbers in the file names", where)
    return order


def _by_number(where: str, key: str, frames: Iterable[CocoImage]) -> list[CocoImage]:
    found: dict[int, CocoImage] = {}
    for frame in frames:
        if key not in frame.numbers:
            raise DataError(f"image {frame.image_id} has no {key!r}, others of {where} have")
        other = found.setdefault(frame.numbers[key], frame)
        if other is not frame:
            both = f"images {other.image_id} and {frame.image_id} of {where}"
            raise DataError(f"{both} have the same {key!r} {frame.numbers[key]}")
    return [found[number] for number in sorted(found)]
