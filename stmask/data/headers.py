"""Reads image file headers: size, EXIF orientation, and whether the file is complete."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_END, _SCAN, _APP1 = 0xD9, 0xDA, 0xE1  # markers of a JPEG
_STANDALONE = {0x01, *range(0xD0, 0xD9)}  # without a length after them
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_MARKER_IN_SCAN = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_EXIF = b"Exif\0\0"
_ORIENTATION, _SHORT = 0x0112, 3


@dataclass(frozen=True, slots=True)
class Header:
    """Of an image file.

    Attributes:
        size: (height, width) of the pixels as they are stored; None where it was not looked for.
        orientation: of EXIF, 1..8: how to turn the stored pixels; 1 leaves them as they are.
        whole: False for a file that ends early.
        pictures: how many the file holds, as an animation does.
    """

    size: tuple[int, int] | None = None
    orientation: int = 1
    whole: bool = True
    pictures: int = 1


def read_header(data: bytes) -> Header:
    """The header of a JPEG, PNG or WebP file; other formats give nothing, and their orientation is ignored."""
    if data.startswith(_JPEG):
        return _jpeg(data)
    if data.startswith(_PNG):
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return Header()


def _jpeg(data: bytes) -> Header:
    """Goes from marker to marker to the end of the image; what follows, such as a phone's live photo video, is ignored.

    The decoder silently fills the rest of a truncated file with grey.
    """
    header, position, marker_of = Header(), len(_JPEG), _MARKER
    while found := marker_of.search(data, position):
        marker, position, marker_of = found[1][0], found.end(), _MARKER
        if marker == _END:
            return header
        if marker in _STANDALONE:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        body = data[position + 2 : position + length]
        if marker in _FRAMES and len(body) >= 5:
            header = replace(header, size=struct.unpack_from(">HH", body, 1))
        elif marker == _APP1 and body.startswith(_EXIF) and header.orientation == 1:
            header = replace(header, orientation=_orientation(body[len(_EXIF) :]))
        elif marker == _SCAN:
            marker_of = _MARKER_IN_SCAN
        position += length
    return replace(header, whole=False)


def _png(data: bytes) -> Header:
    header, position = Header(), len(_PNG)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += 12 + length
        if kind == b"IHDR" and len(body) >= 8:
            width, height = struct.unpack_from(">II", body)
            header = replace(header, size=(height, width))
        elif kind == b"acTL" and len(body) >= 4:
            header = replace(header, pictures=int.from_bytes(body[:4], "big"))
        elif kind == b"eXIf":
            header = replace(header, orientation=_orientation(body))
        elif kind == b"IEND":
            return header
    return replace(header, whole=False)


def _webp(data: bytes) -> Header:
    header = Header(whole=len(data) >= 8 + int.from_bytes(data[4:8], "little"))
    position, frames = 12, 0
    while position + 8 <= len(data):
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        body = data[position + 8 : position + 8 + length]
        if kind == b"EXIF":
            header = replace(header, orientation=_orientation(body.removeprefix(_EXIF)))
        frames += kind == b"ANMF"
        position += 8 + length + length % 2
    return replace(header, pictures=max(1, frames))


def _orientation(tiff: bytes) -> int:
    """The orientation in a block of EXIF; 1 if there is no valid one."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), tiff, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:  # it points outside the block
        pass
    return 1
