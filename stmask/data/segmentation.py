"""One object's mask in one frame: packed to bytes and decoded."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask.formats.segmentation import Polygons, RunLengths, draw_polygons, read_segmentation


class Encoding(IntEnum):
    """How to read the bytes of a packed segmentation."""

    ABSENT = 0
    RUNS = 1  # COCO's run-length string
    POLYGONS = 2  # JSON text of [[x, y, ...], ...]


def pack(segmentation: Any) -> tuple[Encoding, bytes, tuple[int, int] | None]:
    """Packs a segmentation from the JSON: its encoding, its bytes, and (height, width) if it states them.

    Raises:
        ValueError: it is not null, run lengths or polygons; the message says what is wrong with it.
    """
    return packed(read_segmentation(segmentation))


def packed(segmentation: RunLengths | Polygons | None) -> tuple[Encoding, bytes, tuple[int, int] | None]:
    """As `pack`, for a segmentation that has been read."""
    if segmentation is None:
        return Encoding.ABSENT, b"", None
    if isinstance(segmentation, Polygons):
        return Encoding.POLYGONS, json.dumps(segmentation.points).encode("ascii"), None
    if segmentation.empty:
        return Encoding.ABSENT, b"", segmentation.size
    return Encoding.RUNS, segmentation.counts.encode("ascii"), segmentation.size


def run_lengths(data: bytes) -> npt.NDArray[np.int64]:
    """The run lengths (background first, column by column) behind COCO's compressed string.

    A number is written in base 32, lowest digit first, one character per digit from code 48 on; bit 5 says that more
    digits follow, bit 4 of the last digit is the sign. From the fourth number on, each is the difference to the one two
    before.

    Raises:
        ValueError: the string ends inside a number or holds other characters.
    """
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("the run-length string is broken")
    ends = np.flatnonzero((codes & 32) == 0)
    digits_of = np.diff(ends, prepend=-1)  # how many digits each number has
    if digits_of.max() > 7:
        raise ValueError("the run-length string is broken")
    starts = ends - digits_of + 1
    place = np.arange(codes.size) - np.repeat(starts, digits_of)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * digits_of), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _counts(encoding: int, data: bytes, height: int, width: int) -> npt.NDArray[np.int64]:
    if encoding == Encoding.POLYGONS:
        data = draw_polygons(json.loads(data), height, width)
    counts = run_lengths(data)
    if counts.min() < 0 or counts.sum() != height * width:
        raise ValueError(f"the run lengths cover {counts.sum()} of {height * width} pixels")
    return counts


def decode(encoding: int, data: bytes, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The mask (height, width) of zeros and ones.

    Run lengths are expanded here and not by pycocotools, which reads a string that is too short without complaint and
    leaves the rest of the mask uninitialised.

    Raises:
        ValueError: the run lengths do not fill the frame, or polygons lie far outside it.
    """
    if encoding == Encoding.ABSENT:
        return np.zeros((height, width), np.uint8)
    counts = _counts(encoding, data, height, width)
    columns = np.repeat(np.arange(counts.size).astype(np.uint8) & 1, counts).reshape(width, height)
    return np.asarray(cv2.transpose(columns), dtype=np.uint8)


def measure(encoding: int, data: bytes, height: int, width: int) -> tuple[int, tuple[int, int, int, int]]:
    """The number of pixels of a mask and its tight box (x, y, w, h) in pixels, zeros for an empty mask.

    Raises:
        ValueError: the run lengths do not fill the frame, or polygons lie far outside it.
    """
    if encoding == Encoding.ABSENT:
        return 0, (0, 0, 0, 0)
    ends = np.cumsum(_counts(encoding, data, height, width))
    starts, ends = ends[:-1:2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if len(starts) == 0:
        return 0, (0, 0, 0, 0)
    left, right = starts // height, (ends - 1) // height  # a run that crosses columns touches the top and the bottom
    top = int(np.where(left == right, starts % height, 0).min())
    bottom = int(np.where(left == right, (ends - 1) % height, height - 1).max())
    x, y = int(left.min()), top
    return int((ends - starts).sum()), (x, y, int(right.max()) + 1 - x, bottom + 1 - y)
