"""The compressed run lengths of COCO masks, decoded with arrays.

A mask is a list of run lengths of pixels in column order, background first. From the fourth run on, the difference to
the run before the previous one is stored, five bits a character (low ones first) from "0" on; the sixth bit says that
another character follows, the fifth of the last character is the sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

_FIRST, _MORE, _MOST_CHARACTERS = ord("0"), 32, 7
_CHUNK = 1 << 15  # characters decoded at once: what fits the processor's cache


def mask_areas(counts: Sequence[str], pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Areas (M,) of M masks, given their numbers of pixels; -1 if runs can't be decoded or don't cover the mask."""
    parts = [_chunk_areas(counts[first:last], pixels[first:last]) for first, last in _chunks(counts)]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _chunk_areas(counts: Sequence[str], pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    try:
        runs, starts = decode(counts)
    except ValueError:  # one of them is broken: look at each half
        if len(counts) == 1:
            return np.full(1, -1, dtype=np.int64)
        middle = len(counts) // 2
        halves = _chunk_areas(counts[:middle], pixels[:middle]), _chunk_areas(counts[middle:], pixels[middle:])
        return np.concatenate(halves)
    covered = np.add.reduceat(runs, starts[:-1])
    sound = (covered == pixels) & (np.minimum.reduceat(runs, starts[:-1]) >= 0)
    # foreground runs are every second one from the second on: with alternate signs the background cancels half
    signs = 1 - 2 * ((np.arange(len(runs)) - np.repeat(starts[:-1], np.diff(starts))) & 1)
    return np.where(sound, (covered - np.add.reduceat(runs * signs, starts[:-1])) // 2, -1)


def _chunks(counts: Sequence[str]) -> Iterator[tuple[int, int]]:
    ends = np.fromiter(accumulate(map(len, counts)), dtype=np.int64, count=len(counts))
    first = 0
    while first < len(counts):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _CHUNK)))
        yield first, last
        first = last


def decode(counts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Run lengths of M >= 1 masks one after the other, and (M + 1,) where each mask begins.

    Raises:
        ValueError: a mask is empty, ends inside a run, or has other characters than "0" to "o".
    """
    lengths = np.fromiter(map(len, counts), dtype=np.int64, count=len(counts))
    text = "".join(counts)
    digits = np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8) - np.uint8(_FIRST)  # wraps below "0"
    if not lengths.all() or (digits >= 2 * _MORE).any() or len(digits) != lengths.sum():
        raise ValueError("an empty mask or a character outside '0' to 'o'")
    ends = np.flatnonzero(digits < _MORE)  # the last character of each run
    stops = np.cumsum(lengths) - 1
    if (digits[stops] >= _MORE).any():
        raise ValueError("a mask ends inside a run")
    sizes = np.diff(ends, prepend=-1)
    if sizes.max() > _MOST_CHARACTERS:
        raise ValueError("a run of too many characters")
    values = ((digits[ends] ^ np.uint8(16)).astype(np.int64)) - 16
    for back in range(1, int(sizes.max())):
        longer = np.flatnonzero(sizes > back)
        values[longer] = values[longer] << 5 | (digits[ends[longer] - back] & np.uint8(31))
    starts = np.concatenate([[0], np.searchsorted(ends, stops) + 1])
    return _undo_differences(values, starts), starts


def decode_mask(counts: str, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The pixels (height, width) of one mask, 0 or 1; it must cover them."""
    runs, _ = decode([counts])
    colours = (np.arange(len(runs)) & 1).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(colours, runs).reshape(width, height).T)


def _undo_differences(values: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sums every second value within each mask; the first value stands alone.

    Without its first a mask is a table of two columns, the second possibly one short, summed downwards.
    """
    others = np.diff(starts) - 1
    rows = (others + 1) // 2
    bottoms = np.cumsum(rows)
    used = np.ones(2 * bottoms[-1], dtype=bool)
    used[2 * bottoms[others % 2 == 1] - 1] = False
    later = np.ones(len(values), dtype=bool)
    later[starts[:-1]] = False

    table = np.zeros(len(used), dtype=np.int64)
    table[used] = values[later]
    sums = np.concatenate([np.zeros((1, 2), dtype=np.int64), np.cumsum(table.reshape(-1, 2), axis=0)])
    own = sums[1:] - np.repeat(sums[bottoms - rows], rows, axis=0)
    runs: npt.NDArray[np.int64] = values.copy()
    runs[later] = own.reshape(-1)[used]
    return runs
