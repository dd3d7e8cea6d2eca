"""Whole videos for evaluation, one frame in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from stmask.data.ytvis import VideoDataset
from stmask.overlap import read_ahead

Image = npt.NDArray[np.uint8]


class VideoClip:
    """One video whose RGB frames (h, w, 3) uint8 are read during iteration, a few ahead in a thread.

    Attributes:
        index: its place in the dataset.
        video_id: as in the dataset.
        size: (height, width) of its frames.
        file_names: of its frames; their number is the length of the video.
    """

    def __init__(self, dataset: VideoDataset, index: int, *, prefetch: int = 4) -> None:
        video = dataset.video(index)
        self.video_id = video.video_id
        self.size = video.size
        self.file_names = video.file_names
        self._dataset = dataset
        self.index = index
        self._prefetch = prefetch

    def __len__(self) -> int:
        return len(self.file_names)

    def __iter__(self) -> Iterator[Image]:
        """The frames in order.

        Raises:
            DataError: a frame is missing, unreadable or of another size than the annotations say.
        """
        frames = (self._dataset.read_frame(self.index, position) for position in range(len(self)))
        return read_ahead(frames, most=self._prefetch, name="frames")


class VideoClips(Dataset[VideoClip | None]):
    """All videos of a split, labelled or not, in the order of the file."""

    def __init__(self, dataset: VideoDataset, *, prefetch: int = 4) -> None:
        if prefetch < 1:
            raise ValueError(f"prefetch must be at least 1, got {prefetch}")
        self.dataset = dataset
        self._prefetch = prefetch

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> VideoClip: ...
    @overload
    def __getitem__(self, index: None) -> None: ...
    def __getitem__(self, index: int | None) -> VideoClip | None:
        """None, which `VideoSampler` gives a rank without videos, is passed on."""
        return None if index is None else VideoClip(self.dataset, index, prefetch=self._prefetch)


def single_video(videos: Sequence[VideoClip | None]) -> VideoClip | None:
    """The collate function of a loader of one video per batch."""
    (video,) = videos
    return video
