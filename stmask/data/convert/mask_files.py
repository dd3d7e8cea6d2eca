"""Reads and writes images whose pixels are object numbers."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from stmask.errors import DataError
from stmask.files import atomic_path

_GREY, _PALETTE, _GREY_ALPHA = 0, 3, 4  # PNG's colour types that hold one number per pixel
_SCALE = {
    1: 1,
    2: 85,
    4: 17,
}  # by bit depth: how decoders scale grey to 0..255 (1 bit: booleans)


@dataclass(frozen=True, slots=True)
class MaskImage:
    """One mask image: `numbers` (height, width), and its palette's colour for each number in it."""

    numbers: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    colours: dict[int, tuple[int, ...]]


def read_mask(file: Path) -> MaskImage:
    """A PNG file with a palette or of grey, of any depth; an alpha channel beside grey is dropped if it hides nothing.

    Raises:
        DataError: it cannot be read, is not a PNG file, or has colours.
    """
    try:
        data = file.read_bytes()
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            depth, colour_type = data[24], data[25]
            if colour_type not in (_GREY, _PALETTE, _GREY_ALPHA):
                raise DataError(
                    f"mask {file} has colours ({image.mode}), expected one number per pixel: an indexed or grey PNG"
                )
            image.load()
            pixels = np.asarray(image)
            palette = image.getpalette() if colour_type == _PALETTE else None
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        said = "it is not a PNG file" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"mask {file} cannot be read: {said}") from error
    if colour_type == _GREY_ALPHA:
        pixels = _without_alpha(file, data, pixels)
    elif colour_type == _GREY and depth in _SCALE:
        pixels = pixels // _SCALE[depth]
    numbers = np.asarray(pixels, dtype=np.uint16 if depth == 16 else np.uint8)
    found = np.unique(numbers).tolist() if palette is not None else []
    colours = {number: tuple((palette or [])[3 * number : 3 * number + 3]) for number in found}
    return MaskImage(numbers, colours)


def _without_alpha(file: Path, data: bytes, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if pixels.shape[2] != 2:  # Pillow reduces sixteen bits to eight, in colour
        pixels = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    numbers, alpha = pixels[..., 0], pixels[..., -1]
    if (numbers[alpha == 0] > 0).any():
        raise DataError(f"mask {file} hides numbers behind full transparency; save it without an alpha channel")
    return np.asarray(numbers)


def write_mask(path: Path, numbers: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """An indexed PNG file with the usual colours of such masks, or one of sixteen bits of grey."""
    with atomic_path(path) as temporary:
        picture = Image.fromarray(numbers)
        if numbers.dtype == np.uint8:
            picture.putpalette(_palette())
        picture.save(temporary)


def _palette() -> list[int]:
    """The usual colours of such files: the bits of the number, dealt out to red, green and blue, highest first."""
    colours: list[int] = []
    for number in range(256):
        for channel in range(3):
            bits = ((number >> (3 * place + channel)) & 1 for place in range(3))
            colours.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return colours
