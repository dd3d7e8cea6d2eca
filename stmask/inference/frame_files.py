"""Writes the frames of a video as a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from stmask.errors import OutputError
from stmask.folders import atomic_folder
from stmask.inference.video import VideoReader

_DIGITS = 5  # of a name at least; names of one video all have as many, so that they sort as text too


def write_frames(
    source: VideoReader,
    folder: Path,
    *,
    suffix: str = ".jpg",
    quality: int = 95,
    on_frame: Callable[[], None] = lambda: None,
) -> int:
    """Writes every frame under its number in the video, counted from 0; how many there were.

    Args:
        source: the frames.
        folder: appears when all is written. It must not exist, or be empty.
        suffix: ".jpg" or ".png".
        quality: of JPEG, 1 to 100.
        on_frame: called after each frame, to show progress.

    Raises:
        DataError: a frame that can't be read.
        OutputError: the folder holds something, or can't be written.
    """
    _require_free(folder)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    digits = max(_DIGITS, len(str(source.last_index)))
    count = 0
    with atomic_folder(folder) as new:
        for frame in source.frames():
            made, data = cv2.imencode(suffix, np.ascontiguousarray(frame.image[..., ::-1]), options)
            if not made:
                raise OutputError(f"cannot write frame {frame.index} as {suffix}: its size is {frame.image.shape[:2]}")
            (new / f"{frame.index:0{digits}d}{suffix}").write_bytes(data.tobytes())
            count += 1
            on_frame()
        _require_free(folder)  # somebody may have put files there meanwhile
    return count


def _require_free(folder: Path) -> None:
    try:
        if folder.is_symlink():
            raise OutputError(f"{folder} is a link: give the place that it leads to")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} exists already and is not an empty folder: give another name")
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {folder}: {getattr(error, 'strerror', None) or error}") from error
