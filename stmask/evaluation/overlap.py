"""Areas of masks and IoU of tracks, on run-length encodings throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stmask.evaluation.runs import BrokenMaskError, mask_areas

if TYPE_CHECKING:  # the records import torch, which scoring files does not need
    from stmask.structures import RLE

Segmentations: TypeAlias = "Sequence[RLE | None]"

# stands in for a frame where a track is absent: no area and an empty box, so that it overlaps nothing
_ABSENT: RLE = {"size": [1, 1], "counts": "1"}


class BrokenTrackError(ValueError):
    """A mask of a track that cannot be decoded or doesn't cover its frame; `track` and `frame` say which."""

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
        """The areas of some of the tracks, in the order of `tracks`."""
        parts = [self[track] for track in tracks.tolist()]
        return TrackAreas(np.concatenate([np.zeros(0, dtype=np.int64), *parts]), np.cumsum([0, *map(len, parts)]))

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


def track_areas(tracks: Sequence[Segmentations], pixels: Sequence[int]) -> TrackAreas:
    """The areas of every mask of N tracks whose frames have `pixels` (N) pixels each.

    Raises:
        BrokenTrackError: a mask cannot be decoded or doesn't cover its frame.
    """
    starts = np.cumsum([0, *map(len, tracks)])
    present = np.array([mask is not None for track in tracks for mask in track], dtype=bool)
    counts = [mask["counts"] for track in tracks for mask in track if mask is not None]
    slots = np.flatnonzero(present)
    per_mask = np.repeat(np.asarray(pixels, dtype=np.int64), np.diff(starts))[slots]
    per_frame = np.zeros(len(present), dtype=np.int64)
    try:
        per_frame[slots] = mask_areas(counts, per_mask)
    except BrokenMaskError as error:
        slot = slots[error.index]
        track = int(np.searchsorted(starts, slot, side="right")) - 1
        raise BrokenTrackError(track, int(slot - starts[track])) from error
    return TrackAreas(per_frame, starts)


def intersections(
    first: Sequence[Segmentations], second: Sequence[Segmentations], first_areas: Sequence[npt.NDArray[np.int64]]
) -> npt.NDArray[np.int64]:
    """Pixels that D tracks share with each of G tracks of the same video, frame by frame: (T, D, G).

    `first_areas` holds (T,) areas for each of the D tracks.
    """
    everyone = [1] * len(second)  # as "crowd", pycocotools divides by the first mask's area: exact to undo
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
