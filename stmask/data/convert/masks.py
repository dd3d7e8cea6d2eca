"""Converts mask images (DAVIS, YouTube-VOS) to tracks: masks/<video>/<frame>.png, pixel value k for object k."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stmask.data.convert.mask_files import MaskImage, read_mask
from stmask.data.convert.mask_folders import MaskedVideo, find_videos, normal
from stmask.data.convert.tracks import Document, Notes, encode, track, video
from stmask.data.images import frame_sizes
from stmask.errors import DataError
from stmask.files import read_json

VOID = 255  # pixels that belong to no object and not to the background either
_DEEP_VOID = 65535  # the same in images of 16 bits with values above 255
_MOTS_IGNORE, _MOTS_CLASS = 10_000, 1000  # MOTS and KITTI MOTS: class * 1000 + instance
_MANY_OBJECTS, _MOST_OBJECTS = (
    64,
    2000,
)  # with this many values they may be, or certainly are, shades instead of object numbers
_SPECK = 10  # pixels; objects that never get larger may be soft edges of others
CLASS_FILE = "meta.json"
Classes = dict[str, dict[str, str]]  # by video, then by object


def from_masks(frames: Path, masks: Path, classes: Path | None = None, *, notes: Notes | None = None) -> Document:
    """A YouTube-VIS document of the videos in `masks`, with the frames for which there is a mask image.

    A video with only the values 0 and 255 shows one object; beside other values 255 belongs to no object.

    Args:
        frames: frames/<video>/<frame>.jpg.
        classes: names of the objects' classes as in YouTube-VOS, {"videos": {<video>: {"objects": {"1": {"category":
            "dog"}}}}}; without it every object is an "object".
        notes: receives what was left out or decided.

    Raises:
        DataError: folders without masks or frames, a mask of another size than its video or frame, an object without
            a class, or no object anywhere.
    """
    notes = Notes() if notes is None else notes
    names = _read_classes(classes) if classes is not None else None
    found = (
        sorted({name for objects in names.values() for name in objects.values()}) if names is not None else ["object"]
    )
    category = {name: number for number, name in enumerate(found, start=1)}
    videos: list[Document] = []
    annotations: list[Document] = []
    used: set[tuple[str, str]] = set()
    for source in find_videos(frames, masks, beside=(CLASS_FILE,), notes=notes):
        images = [read_mask(file) for file in source.masks]
        height, width = _common_size(source, images, notes)
        number = len(videos) + 1
        videos.append(video(number, source.file_names, height=height, width=width))
        _compare_palettes(source, images, notes)
        values = _objects(source.name, images, notes)
        if not values:
            notes.add("videos without an object", source.name)
        for value in values:
            key, label = _class_of(names, source.name, value, alone=values == [VOID] or values == [_DEEP_VOID])
            used.add((normal(source.name), key))
            shapes = [encode(image.numbers == value) for image in images]
            where = {"video": number, "category": category[label], "height": height, "width": width}
            annotations.append(track(len(annotations) + 1, shapes, **where))
            if max(area or 0 for area in annotations[-1]["areas"]) < _SPECK:
                kind = f"objects that never have {_SPECK} pixels: are they objects, not the soft edges of others?"
                notes.add(kind, f"{value} in {source.name}")
    for name, objects in (names or {}).items():
        for key in objects:
            if (name, key) not in used:
                notes.add("objects of the class file that are in no mask", f"{key} of {name}")
    if not annotations:
        raise DataError(f"no object in any mask of {masks}: all their pixels are 0 or void")
    return {
        "categories": [{"id": number, "name": name} for name, number in category.items()],
        "videos": videos,
        "annotations": annotations,
    }


def _common_size(source: MaskedVideo, images: list[MaskImage], notes: Notes) -> tuple[int, int]:
    """(height, width) of all masks and frames of a video."""
    height, width = images[0].numbers.shape
    for file, image, frame in zip(source.masks, images, source.frames, strict=True):
        if image.numbers.shape != (height, width):
            found = f"{image.numbers.shape[1]} x {image.numbers.shape[0]}"
            raise DataError(f"mask {file} is {found}, the first one of its video is {width} x {height}")
        sizes = frame_sizes(frame)
        if (height, width) not in sizes:
            found = " and, turned as its EXIF orientation says, ".join(f"{w} x {h}" for h, w in sizes)
            raise DataError(f"mask {file} is {width} x {height}, its frame {frame} is {found}")
        if len(sizes) > 1:
            kind = "frames that are turned or mirrored by their EXIF orientation: do the masks lie on the objects?"
            notes.add(kind, str(frame))
    return height, width


def _compare_palettes(source: MaskedVideo, images: list[MaskImage], notes: Notes) -> None:
    seen: dict[int, tuple[int, ...]] = {}
    for file, image in zip(source.masks, images, strict=True):
        for number, colour in image.colours.items():
            if seen.setdefault(number, colour) != colour:
                kind = "masks in which a number has another colour than before: is it the same object?"
                return notes.add(kind, f"{number} in {file}")
    return None


def _objects(name: str, images: list[MaskImage], notes: Notes) -> list[int]:
    """The pixel values of a video that are objects."""
    values = sorted(set(np.concatenate([np.unique(image.numbers) for image in images]).tolist()) - {0})
    white = VOID if not values or values[-1] <= VOID else _DEEP_VOID
    if values == [white]:
        notes.add(f"videos of the values 0 and {white} alone, taken for one object", name)
        return values
    if white in values:
        notes.add(f"videos with pixels of {white} beside other values, taken for void", name)
        values.remove(white)
    if values and values[0] >= _MOTS_CLASS and values[-1] <= _MOTS_IGNORE:
        notes.add("videos that look coded as in MOTS (class * 1000 + instance): each value is an object", name)
        if _MOTS_IGNORE in values:
            notes.add(f"videos with pixels of {_MOTS_IGNORE}, left out as MOTS ignores them", name)
            values.remove(_MOTS_IGNORE)
    if len(values) > _MOST_OBJECTS:
        raise DataError(f"the masks of {name} have {len(values)} different values: these are not object numbers")
    if len(values) > _MANY_OBJECTS:
        notes.add(f"videos with more than {_MANY_OBJECTS} values: are they numbers of objects, not shades?", name)
    return values


def _read_classes(path: Path) -> Classes:
    document = read_json(path)
    try:
        named = {
            normal(video): {number: entry["category"] for number, entry in content["objects"].items()}
            for video, content in document["videos"].items()
        }
    except (AttributeError, KeyError, TypeError):
        wanted = '{"videos": {VIDEO: {"objects": {"1": {"category": NAME}}}}}'
        raise DataError(f"{path} does not name classes, expected {wanted}") from None
    for name, objects in named.items():
        for number, label in objects.items():
            if not isinstance(label, str) or not label:
                raise DataError(f"{path}: the category of object {number} of {name!r} must be text, got {label!r}")
    return named


def _class_of(names: Classes | None, video: str, value: int, *, alone: bool) -> tuple[str, str]:
    """The object's key in the class file and its class; a single white object may be called 1 there."""
    key = str(value)
    if names is None:
        return key, "object"
    objects = names.get(normal(video), {})
    if alone and key not in objects:
        key = "1"
    if key not in objects:
        raise DataError(f"object {value} of video {video!r} has no class in the class file")
    return key, objects[key]
