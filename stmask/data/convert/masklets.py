"""Converts SA-V: one JSON of masklets per video file, a mask for every fourth frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask.data.convert.tracks import Document, Notes, track, video, whole
from stmask.errors import DataError, OutputError
from stmask.files import atomic_path, read_json

FRAME_STEP = 4  # videos run at 24 frames per second, masks at 6
_JPEG_QUALITY = 95


def from_masklets(
    videos: Iterable[tuple[Sequence[Path], Iterable[npt.NDArray[np.uint8]]]],
    frame_folder: Path,
    *,
    notes: Notes | None = None,
) -> Document:
    """A YouTube-VIS document; the annotated frames are written to frame_folder/<video>/00000.jpg, 00004.jpg, ...

    Args:
        videos: for each video its masklet files (manual, automatic or both) and its RGB frames.
        notes: receives what was left out.

    Raises:
        DataError: a file that does not hold masklets, two of one video, or a video that is shorter than they are or of
            another size.
    """
    notes = Notes() if notes is None else notes
    entries: list[Document] = []
    annotations: list[Document] = []
    sources: dict[str, Path] = {}
    for files, frames in videos:
        contents = [_read(file) for file in files]
        name, size, length = _shared(files, contents)
        if sources.setdefault(name, files[0]) != files[0]:
            raise DataError(f"{sources[name]} and {files[0]} are both of the video {name!r}")
        names = _write_frames(frames, frame_folder / name, length, size, notes)
        if len(names) < length:
            raise DataError(f"{files[0]} has masks for {length} frames, the video only {len(names)} of them")
        number = len(entries) + 1
        entries.append(video(number, [f"{name}/{frame}" for frame in names], height=size[0], width=size[1]))
        for file, content in zip(files, contents, strict=True):
            for place, masks in enumerate(_per_object(file, content, length)):
                where = {"video": number, "category": 1, "height": size[0], "width": size[1]}
                try:
                    one = track(len(annotations) + 1, masks, **where)
                except ValueError as error:
                    raise DataError(f"{file}: object {place}: {error}") from error
                if any(one["segmentations"]):
                    annotations.append(one)
                else:
                    notes.add("masklets without a pixel, left out", f"object {place} of {file}")
    if not entries:
        raise DataError("no masklets found beside the videos")
    if not annotations:
        raise DataError(f"no masks in the masklets of {', '.join(list(sources)[:3])}")
    return {"categories": [{"id": 1, "name": "object"}], "videos": entries, "annotations": annotations}


def _read(file: Path) -> Document:
    content = read_json(file)
    if not isinstance(content, dict) or not {"video_id", "video_height", "video_width", "masklet"} <= content.keys():
        raise DataError(f"{file} does not hold masklets of SA-V")
    masklet = content["masklet"]
    if not isinstance(masklet, list) or not masklet or not all(isinstance(of_frame, list) for of_frame in masklet):
        raise DataError(f"{file}: 'masklet' must be a list of frames, each a list of masks")
    name = content["video_id"]
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
        raise DataError(f"{file}: 'video_id' must be the name of a video, got {name!r}")
    return content


def _shared(files: Sequence[Path], contents: Sequence[Document]) -> tuple[str, tuple[int, int], int]:
    """Name, (height, width) and number of annotated frames, in which all files of a video agree."""
    found = [
        (
            content["video_id"],
            (whole(content, "video_height", str(file)), whole(content, "video_width", str(file))),
            len(content["masklet"]),
        )
        for file, content in zip(files, contents, strict=True)
    ]
    for file, other in zip(files, found, strict=True):
        if other != found[0]:
            said = " and ".join(
                f"{name} of {h} x {w} pixels in {count} frames" for name, (h, w), count in (found[0], other)
            )
            raise DataError(f"{files[0]} and {file.name} do not go together: {said}")
    return found[0]


def _per_object(file: Path, content: Document, length: int) -> list[list[Any]]:
    masklet = content["masklet"]  # by frame, then by object
    if len({len(of_frame) for of_frame in masklet}) > 1:
        raise DataError(f"{file}: 'masklet' must have {length} frames with as many objects each")
    return [list(masks) for masks in zip(*masklet, strict=True)]


def _write_frames(
    frames: Iterable[npt.NDArray[np.uint8]], folder: Path, wanted: int, size: tuple[int, int], notes: Notes
) -> list[str]:
    names: list[str] = []
    position = -1
    for position, frame in enumerate(frames):
        if position % FRAME_STEP or len(names) == wanted:
            continue
        if frame.shape[:2] != size:
            found = f"{frame.shape[1]} x {frame.shape[0]}"
            raise DataError(f"the video of {folder.name} is {found}, its masklets are {size[1]} x {size[0]}")
        names.append(f"{position:05d}.jpg")
        with atomic_path(folder / names[-1]) as path:
            image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
            if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
                raise OutputError(f"cannot write {folder / names[-1]}")
    if position >= FRAME_STEP * wanted:
        notes.add("videos that are longer than their masklets, the rest left out", folder.name)
    return names
