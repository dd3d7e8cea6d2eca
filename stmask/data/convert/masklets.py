"""SA-V: one JSON of masklets per video file, a mask for every fourth frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask.data.convert.tracks import Document, track, video
from stmask.errors import DataError, OutputError
from stmask.files import atomic_path, read_json

FRAME_STEP = 4  # videos run at 24 frames per second, masks at 6
_JPEG_QUALITY = 95


def from_masklets(
    videos: Iterable[tuple[Sequence[Path], Iterable[npt.NDArray[np.uint8]]]], frame_folder: Path
) -> Document:
    """A YouTube-VIS document; the annotated frames are written to frame_folder/<video>/00000.jpg, 00004.jpg, ...

    Args:
        videos: for each video its masklet files (manual, automatic or both) and its RGB frames.

    Raises:
        DataError: a file that does not hold masklets, or a video that is shorter than they are.
    """
    entries: list[Document] = []
    annotations: list[Document] = []
    for files, frames in videos:
        contents = [_read(file) for file in files]
        name, (height, width) = contents[0]["video_id"], _size(contents[0])
        length = len(contents[0]["masklet"])
        names = _write_frames(frames, frame_folder / name, length)
        if len(names) < length:
            raise DataError(f"{files[0]} has masks for {length} frames, the video only {len(names)} of them")
        number = len(entries) + 1
        entries.append(video(number, [f"{name}/{frame}" for frame in names], height=height, width=width))
        for file, content in zip(files, contents, strict=True):
            for masks in _per_object(file, content, length):
                where = {"video": number, "category": 1, "height": height, "width": width}
                annotations.append(track(len(annotations) + 1, masks, **where))
    if not entries:
        raise DataError("no masklets found beside the videos")
    return {"categories": [{"id": 1, "name": "object"}], "videos": entries, "annotations": annotations}


def _read(file: Path) -> Document:
    content = read_json(file)
    if not isinstance(content, dict) or not {"video_id", "video_height", "video_width", "masklet"} <= content.keys():
        raise DataError(f"{file} does not hold masklets of SA-V")
    return content


def _size(content: Document) -> tuple[int, int]:
    return int(content["video_height"]), int(content["video_width"])


def _per_object(file: Path, content: Document, length: int) -> list[list[Any]]:
    masklet = content["masklet"]  # by frame, then by object
    if len(masklet) != length or len({len(of_frame) for of_frame in masklet}) > 1:
        raise DataError(f"{file}: 'masklet' must have {length} frames with as many objects each")
    return [list(masks) for masks in zip(*masklet, strict=True)]


def _write_frames(frames: Iterable[npt.NDArray[np.uint8]], folder: Path, wanted: int) -> list[str]:
    names: list[str] = []
    for position, frame in enumerate(frames):
        if position % FRAME_STEP or len(names) == wanted:
            continue
        names.append(f"{position:05d}.jpg")
        with atomic_path(folder / names[-1]) as path:
            image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
            if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
                raise OutputError(f"cannot write {folder / names[-1]}")
    return names
