"""Areas of masks and IoU of tracks, on run-length encodings throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stmask.formats.packed import PackedTrack, Segmentations, pack, rows_of, shared_pixels


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


def pack_checked(
    tracks: Sequence[Segmentations], sizes: Sequence[tuple[int, int]]
) -> tuple[list[PackedTrack], TrackAreas]:
    """N tracks packed together, in videos of (height, width) `sizes`, and their areas; every mask is decoded.

    Raises:
        BrokenTrackError: a mask is invalid, has another size, or its runs cannot be decoded or don't cover its frame.
    """
    packed = pack(tracks, sizes)
    per_frame = rows_of(packed)[1]["area"].astype(np.int64)
    starts = np.cumsum([0, *map(len, packed)])
    broken = np.flatnonzero(per_frame < 0)
    if len(broken):
        track = int(np.searchsorted(starts, broken[0], side="right")) - 1
        raise BrokenTrackError(track, int(broken[0] - starts[track]))
    return packed, TrackAreas(per_frame, starts)


def intersections(first: Sequence[PackedTrack], second: Sequence[PackedTrack]) -> npt.NDArray[np.int64]:
    """Pixels that D tracks share with each of G tracks of the same video, frame by frame: (T, D, G), D and G >= 1.

    Each side was made by one `pack_checked`.
    """
    group = np.array([[len(first), len(second), len(first[0])]], dtype=np.int64)
    return shared_pixels(first, second, group, per_frame=True).reshape(-1, len(first), len(second))


def track_ious(
    shared: npt.NDArray[np.int64], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """IoU of every pair of tracks (D, G) from their shared pixels (D, G) and total areas (D,) and (G,).

    It is the sum over frames of the intersections by the sum of the unions, and 0 where the union is empty.
    """
    return pair_ious(shared, first[:, None], second[None])


def pair_ious(
    shared: npt.NDArray[np.int64], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The same for pairs in any shape, each with its own areas."""
    ious: npt.NDArray[np.float64] = shared / np.maximum(first + second - shared, 1)
    return ious
