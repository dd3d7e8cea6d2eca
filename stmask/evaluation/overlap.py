"""Areas of masks and IoU of tracks, on run-length encodings throughout.

A small C module does the work if it was built, else arrays and pycocotools, several times slower.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stmask.formats.runs import mask_areas

if TYPE_CHECKING:  # importing the records would import torch, which scoring files does not need
    from stmask.structures import RLE

_HAS_MODULE = importlib.util.find_spec("stmask.evaluation._runs") is not None  # built if a C compiler was available
_compiled: Any = importlib.import_module("stmask.evaluation._runs") if _HAS_MODULE else None

Segmentations: TypeAlias = "Sequence[RLE | None]"

# stands in where a track is absent: no area and an empty box, so it overlaps nothing
_ABSENT: RLE = {"size": [1, 1], "counts": "1"}


class BrokenTrackError(ValueError):
    """A mask that is invalid or doesn't fit its video; `track` and `frame` say which."""

    def __init__(self, track: int, frame: int) -> None:
        super().__init__(f"the mask in frame {frame} of track {track} is broken")
        self.track = track
        self.frame = frame


@dataclass(frozen=True, slots=True)
class TrackAreas:
    """Areas in pixels of every frame of N tracks.

    Attributes:
        per_frame: (frames of all tracks,) int64, 0 where absent.
        starts: (N + 1,) where each track begins in `per_frame`.
    """

    per_frame: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    def __getitem__(self, track: int) -> npt.NDArray[np.int64]:
        return self.per_frame[self.starts[track] : self.starts[track + 1]]

    def take(self, tracks: npt.NDArray[np.int64]) -> TrackAreas:
        """The areas of the given tracks, in the order of `tracks`."""
        lengths = np.diff(self.starts)[tracks]
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        places = np.arange(starts[-1]) + np.repeat(self.starts[tracks] - starts[:-1], lengths)
        return TrackAreas(self.per_frame[places], starts)

    def totals(self) -> npt.NDArray[np.int64]:
        """(N,) sum over the frames of each track."""
        return self._sum(self.per_frame)

    def means(self) -> npt.NDArray[np.float64]:
        """(N,) mean over the frames where the track has pixels, 0 for a track without any."""
        return self.totals() / np.maximum(self.presences(), 1)

    def presences(self) -> npt.NDArray[np.int64]:
        """(N,) number of frames where the track has pixels."""
        return self._sum((self.per_frame > 0).astype(np.int64))

    def _sum(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        sums: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(values)])
        return sums[self.starts[1:]] - sums[self.starts[:-1]]


def track_areas(tracks: Sequence[Segmentations], sizes: Sequence[tuple[int, int]]) -> TrackAreas:
    """The areas of every mask of N tracks, in videos of (height, width) `sizes`; every mask is decoded and checked.

    Raises:
        BrokenTrackError: a mask is invalid, has another size, or its runs cannot be decoded or don't cover its frame.
    """
    compute = _compiled_areas if _compiled else _array_areas
    per_frame = compute(list(tracks), np.array(sizes, dtype=np.int64).reshape(-1, 2))
    starts = np.cumsum([0, *map(len, tracks)])
    broken = np.flatnonzero(per_frame < 0)
    if len(broken):
        track = int(np.searchsorted(starts, broken[0], side="right")) - 1
        raise BrokenTrackError(track, int(broken[0] - starts[track]))
    return TrackAreas(per_frame, starts)


def _compiled_areas(tracks: list[Segmentations], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.frombuffer(_compiled.track_areas(tracks, sizes), dtype=np.int64)


def _array_areas(tracks: list[Segmentations], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    frames = [(mask, size) for track, size in zip(tracks, sizes.tolist(), strict=True) for mask in track]
    areas = np.array([0 if mask is None else -1 for mask, _ in frames], dtype=np.int64)
    slots = [i for i, (mask, size) in enumerate(frames) if is_mask(mask, size)]
    counts = [mask["counts"] for mask, _ in (frames[slot] for slot in slots) if mask is not None]
    pixels = np.array([height * width for _, (height, width) in (frames[slot] for slot in slots)], dtype=np.int64)
    areas[slots] = mask_areas(counts, pixels)
    return areas


def is_mask(mask: Any, size: list[int]) -> bool:
    """Whether something is an RLE of that [height, width] with text as counts, sound or not."""
    if not isinstance(mask, dict) or not isinstance(mask.get("size"), list):
        return False
    return mask["size"] == size and isinstance(mask.get("counts"), str)


def intersections(
    first: Sequence[Segmentations], second: Sequence[Segmentations], first_areas: Sequence[npt.NDArray[np.int64]]
) -> npt.NDArray[np.int64]:
    """Pixels that D tracks share with each of G tracks of the same video, frame by frame: (T, D, G).

    Only for masks that `track_areas` has checked; `first_areas` holds what it gave, (T,) for each of the D tracks.
    """
    if _compiled:
        shared = np.frombuffer(_compiled.intersections(list(first), list(second)), dtype=np.int64)
        return shared.reshape(-1, len(first), len(second))
    everyone = [1] * len(
        second
    )  # as "crowd", pycocotools divides by the first mask's area, which can be undone exactly
    shares = [
        coco_mask.iou([mask or _ABSENT for mask in ours], [mask or _ABSENT for mask in theirs], everyone)
        for ours, theirs in zip(zip(*first, strict=True), zip(*second, strict=True), strict=True)
    ]
    areas = np.stack(first_areas, axis=1)  # (T, D)
    return np.rint(np.stack(shares) * areas[:, :, None]).astype(np.int64)


def track_ious(
    shared: npt.NDArray[np.int64], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """IoU of every pair of tracks (D, G) from their shared pixels (D, G) and total areas (D,) and (G,).

    It is the sum over frames of the intersections by the sum of the unions, and 0 where the union is empty.
    """
    unions = first[:, None] + second[None] - shared
    ious: npt.NDArray[np.float64] = shared / np.maximum(unions, 1)
    return ious
