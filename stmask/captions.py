"""Where captions go in a picture, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels, x2 and y2 behind the last
Size = tuple[int, int]  # height, width

_STEPS = 4  # places that are tried along a plate's side, where none beside its object is free


def place(objects: Sequence[Box | None], plates: Sequence[Size], frame: Size) -> list[tuple[int, int] | None]:
    """The top left corner (x, y) of each plate, one after the other: earlier ones have the choice.

    A plate lies above its object, else below it, else at the inner edge of its box, else at the nearest place that is
    free. None of them cover each other, and all lie within the frame.

    Args:
        objects: the box of each, or None for one without a place.
        plates: their sizes.
        frame: its size.

    Returns:
        None for a plate whose object has no place, and where there is no room left.
    """
    height, width = frame
    taken: list[Box] = []
    found: list[tuple[int, int] | None] = []
    for box, (h, w) in zip(objects, plates, strict=True):
        at = None
        if box is not None:
            most = (max(0, width - w), max(0, height - h))
            beside = np.clip(_beside(box, h, w), 0, most)
            at = _first_free(beside, h, w, taken)
            if at is None and h <= height and w <= width:
                at = _first_free(_by_distance(beside[0], h, w, most), h, w, taken)
        if at is not None:
            taken.append((at[0], at[1], at[0] + w, at[1] + h))
        found.append(at)
    return found


def _beside(box: Box, h: int, w: int) -> npt.NDArray[np.int64]:
    x1, y1, x2, y2 = box
    columns = (x1, x2 - w)
    return np.array([(x, y) for y in (y1 - h, y2, y1, y2 - h) for x in columns], dtype=np.int64)


def _by_distance(wanted: npt.NDArray[np.int64], h: int, w: int, most: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Places all over the frame, those near the wanted one first."""
    x, y = (
        np.unique(np.append(np.arange(0, last + 1, max(1, side // _STEPS)), (last, start)))
        for last, side, start in zip(most, (w, h), wanted.tolist(), strict=True)
    )
    places: npt.NDArray[np.int64] = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    distance = ((places - wanted) ** 2).sum(axis=1)
    return places[np.argsort(distance, kind="stable")]


def _first_free(places: npt.NDArray[np.int64], h: int, w: int, taken: Sequence[Box]) -> tuple[int, int] | None:
    x1, y1, x2, y2 = np.array(taken, dtype=np.int64).reshape(-1, 4).T
    x, y = places[:, :1], places[:, 1:]
    covers = (x < x2) & (x1 < x + w) & (y < y2) & (y1 < y + h)  # (places, taken)
    free = np.flatnonzero(~covers.any(axis=1))
    return (int(places[free[0], 0]), int(places[free[0], 1])) if len(free) else None
