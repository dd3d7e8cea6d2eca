"""Reads single frames from disk, strictly: a file that is missing, unreadable or truncated is an error.

Orientation: pixels are turned as the file's EXIF orientation says, as browsers, phones and most annotation tools do.
    They are taken as stored only if annotations state a size that the stored pixels have and the turned ones do not.
    Training, evaluation, `stmask data show` and `stmask predict` all follow this rule.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from stmask.data.headers import Header, read_header
from stmask.errors import DataError

Image = npt.NDArray[np.uint8]

_MAX_PIXELS = 1 << 27  # no camera takes more; a forged header could exhaust the memory
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_TURNS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored and turned by 90 degrees",
    6: "turned by 90 degrees",
    7: "mirrored and turned by 90 degrees",
    8: "turned by 90 degrees",
}
# What is found in place of pictures, by its first bytes.
_OTHER_FILES = {
    b"<": "a web page or other text (it begins with '<')",
    b"version https://git-lfs": "a Git LFS pointer: `git lfs pull` fetches the picture",
    b"%PDF": "a PDF",
}


def read_image(path: str | os.PathLike[str], *, size: tuple[int, int] | None = None) -> Image:
    """An RGB image (h, w, 3) from a file, whatever its depth and channels.

    It is turned upright by its EXIF orientation, unless only the stored pixels have the `size` (height, width) that
    annotations state. An image that has this size neither way comes upright: the caller compares sizes.

    Raises:
        DataError: the file is missing, empty, not an image, truncated, an animation, or states an absurd size.
    """
    return read_oriented(path, size=size)[0]


def read_oriented(path: str | os.PathLike[str], *, size: tuple[int, int] | None = None) -> tuple[Image, int]:
    """What `read_image` reads, and the EXIF orientation of the file, 1..8; 1 is upright, or not stated."""
    source = Path(path)
    data = _read(source)
    header = _sound_header(source, data)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED)
    except cv2.error as error:
        raise DataError(f"frame {source} is not a readable image: {str(error.err or error).strip()}") from error
    if decoded is None:
        raise DataError(f"frame {source} is not a readable image{_guess(data)}")
    stored = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    upright = _upright(stored, header.orientation)
    return (stored if stored.shape[:2] == size != upright.shape[:2] else upright), header.orientation


def frame_sizes(path: str | os.PathLike[str]) -> list[tuple[int, int]]:
    """(height, width) of an image as stored and, if its EXIF orientation turns or mirrors it, also as turned.

    Nothing is decoded, so damage within the picture goes unnoticed.

    Raises:
        DataError: as `read_image`.
    """
    from PIL import Image

    source = Path(path)
    data = _read(source)
    header = _sound_header(source, data)
    height, width = header.size or (0, 0)
    if header.size is None:
        try:
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
        except Exception as error:  # Pillow's readers raise all kinds of errors
            raise DataError(f"frame {source} is not a readable image{_guess(data)}") from error
    turned = (width, height) if swaps_sides(header.orientation) else (height, width)
    return [(height, width), *([turned] if header.orientation != 1 else [])]


def _sound_header(source: Path, data: bytes) -> Header:
    header = read_header(data)
    if not header.whole:
        raise DataError(f"frame {source} is truncated")
    if header.size is not None and header.size[0] * header.size[1] > _MAX_PIXELS:
        raise DataError(f"frame {source} claims {header.size[1]} x {header.size[0]} pixels, which is too large")
    if header.pictures > 1:
        raise DataError(f"frame {source} is an animation of {header.pictures} pictures: save each to a file of its own")
    return header


def describe_turn(orientation: int) -> str:
    """A description of an EXIF orientation other than 1."""
    return f"{_TURNS[orientation]} by its EXIF orientation {orientation}"


def swaps_sides(orientation: int) -> bool:
    """Whether height and width of the stored pixels become width and height."""
    return orientation >= 5


def _read(source: Path) -> bytes:
    try:
        data = source.read_bytes()
    except FileNotFoundError as error:
        windows = "; its name has Windows separators, write / for each" if "\\" in source.name else ""
        raise DataError(f"no such frame: {source}{windows}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read frame {source}: {getattr(error, 'strerror', None) or error}") from error
    if not data:
        raise DataError(f"frame {source} is not a readable image: it is empty (0 bytes)")
    return data


def _guess(data: bytes) -> str:
    """What a file without a picture seems to be, for a message; "" if unknown."""
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return ": it is HEIC, save it as JPEG or PNG"
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((f": it is {what}" for first, what in _OTHER_FILES.items() if start.startswith(first)), "")


def _upright(stored: Image, orientation: int) -> Image:
    """The pixels, turned according to an EXIF orientation."""
    turned = stored.swapaxes(0, 1) if swaps_sides(orientation) else stored
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)
