"""Converts tracks to folders of mask images (DAVIS, YouTube-VOS)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from stmask.data.convert.mask_files import write_mask
from stmask.data.convert.masks import CLASS_FILE, VOID
from stmask.data.convert.tracks import Document, Notes, with_slashes
from stmask.data.segmentation import decode, pack
from stmask.errors import DataError
from stmask.files import write_json
from stmask.folders import natural_key


def to_masks(document: Document, folder: Path, notes: Notes | None = None) -> int:
    """Writes folder/<video>/<frame>.png and the classes to folder/meta.json; object k is the k-th track of its video.

    These files cannot express overlap: the first track gets the pixel. Crowd regions are left out. A
    video is named after the folder of its frames.

    Args:
        document: one that `read_index` accepts.
        notes: receives what was left out or covered.

    Returns:
        The number of masks painted.

    Raises:
        DataError: two frames or videos with one name, too many tracks in a video, or no track at all.
    """
    notes = Notes() if notes is None else notes
    names = {category["id"]: category["name"] for category in document["categories"]}
    tracks: dict[int, list[Document]] = {}
    for entry in document.get("annotations") or []:
        if entry.get("iscrowd"):
            notes.add("crowd regions, left out", f"annotation {entry['id']}")
        else:
            tracks.setdefault(entry["video_id"], []).append(entry)
    if not tracks:
        raise DataError("there is no track in it, so there is nothing to paint")
    places = _places(document, notes)
    meta: dict[str, Any] = {}
    painted = 0
    for entry, (name, stems) in zip(document["videos"], places, strict=True):
        own = tracks.get(entry["id"], [])
        if len(own) >= VOID:
            raise DataError(f"video {entry['id']} has {len(own)} tracks, a mask image can hold {VOID - 1}")
        for position, stem in enumerate(stems):
            painted += _paint(folder / name / f"{stem}.png", entry, own, position, notes)
        objects = {str(value): {"category": names[one["category_id"]]} for value, one in enumerate(own, start=1)}
        meta[name] = {"objects": objects}
    write_json(folder / CLASS_FILE, {"videos": meta})
    return painted


def _places(document: Document, notes: Notes) -> list[tuple[str, list[str]]]:
    """For each video the name of its folder, and those of its mask images without a suffix."""
    taken: dict[str, int] = {}
    places: list[tuple[str, list[str]]] = []
    for entry in document["videos"]:
        where = f"video {entry['id']}"
        files = [PurePosixPath(with_slashes(name, notes)) for name in entry["file_names"]]
        folders = {file.parent for file in files}
        if len(folders) > 1:
            one, other = sorted(map(str, folders))[:2]
            raise DataError(f"{where}: its frames are in several folders ({one}, {other}), mask images have one each")
        name = files[0].parent.name
        if not name:
            name = str(entry["id"])
            notes.add("videos whose frames are in no folder, called by their id", where)
        if name == "..":
            raise DataError(f"{where}: {entry['file_names'][0]!r} does not name the folder of its frames")
        if name in taken:
            raise DataError(
                f"video {taken[name]} and {where} are both in a folder named {name!r}: one would overwrite the other"
            )
        taken[name] = entry["id"]
        stems = [file.stem for file in files]
        if len(set(stems)) < len(stems):
            twice = next(stem for stem in stems if stems.count(stem) > 1)
            raise DataError(f"{where} has two frames named {twice!r}, their masks would be one file")
        if sorted(stems, key=natural_key) != stems:
            notes.add("videos whose frames are not in name order, the only order that mask images have", where)
        places.append((name, stems))
    return places


def _paint(path: Path, video: Document, tracks: list[Document], position: int, notes: Notes) -> int:
    """Writes the mask image of a frame; returns how many objects are in it."""
    drawn: dict[int, str] = {}
    canvas = np.zeros((int(video["height"]), int(video["width"])), np.uint8)
    for value, one in reversed(list(enumerate(tracks, start=1))):
        where = f"annotation {one['id']}: segmentations[{position}]"
        try:
            encoding, data, _ = pack(one["segmentations"][position])
            mask = decode(encoding, data, *canvas.shape) > 0
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        if mask.any():
            drawn[value] = where
        if (canvas[mask] > 0).any():
            notes.add("masks that cover others, which lose these pixels", where)
        canvas[mask] = value
    left = set(np.unique(canvas).tolist()) - {0}
    for value in drawn.keys() - left:
        notes.add("masks that are wholly covered and lost", drawn[value])
    write_mask(path, canvas)
    return len(left)
