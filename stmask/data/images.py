"""Reading single frames from disk, strictly: a file that is missing, unreadable or cut short is an error."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from stmask.errors import DataError

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """An RGB image (h, w, 3) from a file.

    Raises:
        DataError: the file is missing, not an image, or a JPEG that ends before its end marker.
    """
    source = Path(path)
    try:
        data = source.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"no such frame: {source}") from error
    except OSError as error:
        raise DataError(f"cannot read frame {source}: {error.strerror or error}") from error
    # The decoder fills the rest of a truncated JPEG with grey and reports nothing, so look for the end ourselves:
    # the marker cannot occur inside a scan, and an embedded thumbnail ends before the last scan starts.
    if data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise DataError(f"frame {source} is truncated")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise DataError(f"frame {source} is not a readable image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
