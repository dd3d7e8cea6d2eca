"""A split of a YouTube-VIS style dataset: its videos, frames and instances, read on demand."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stmask.data.cache import open_index
from stmask.data.images import describe_turn, read_oriented, swaps_sides
from stmask.data.index import Categories, Index, Ints
from stmask.data.layouts import annotation_file, find_frames
from stmask.data.segmentation import Encoding, decode
from stmask.errors import DataError

_log = logging.getLogger(__name__)

_PROBED_VIDEOS = 20  # how many videos' first frames to look for when searching for the frame folder


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """One video of a dataset; `index` is its position, `video_id` its id in the file, `size` (height, width)."""

    index: int
    video_id: int
    size: tuple[int, int]
    file_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.file_names)


@dataclass(frozen=True, slots=True)
class FrameInstances:
    """The instances to learn from in one frame, N of them; crowd regions are not among them.

    Attributes:
        labels: (N,) in 1..K.
        track_ids: (N,) > 0, equal for the same object in every frame of a video and different between videos.
        masks: N masks (height, width) of zeros and ones at the video's own size.
    """

    labels: Ints
    track_ids: Ints
    masks: tuple[npt.NDArray[np.uint8], ...]

    def __len__(self) -> int:
        return len(self.masks)


class VideoDataset:
    """One annotation file's index (or `contents` read from it earlier) and the folder of its frames.

    With a `cache` folder the index is kept there and mapped into memory the next time, see `stmask.data.cache`.

    Categories may have any ids of at least 0; labels are 1..K in the order of the file. A file without annotations (the
    key is missing or null) is unlabelled and can be predicted on, but neither trained on nor evaluated with.

    Raises:
        DataError: the file is not a valid YouTube-VIS file; the message names the annotation and the key.
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        frames: str | os.PathLike[str],
        *,
        cache: str | os.PathLike[str] | None = None,
        contents: tuple[Categories, Index] | None = None,
    ) -> None:
        self.annotations_path = Path(annotations)
        self.frames_path = Path(frames)
        self._cache = Path(cache) if cache is not None and contents is None else None
        self._told_of_turns = False
        self._categories, self.index = contents or open_index(self.annotations_path, self._cache)

    def __getstate__(self) -> dict[str, Any]:
        """The state without what the unpickling process can map from the cache."""
        state = self.__dict__.copy()
        if self._cache is not None:
            del state["index"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._cache is not None:
            _, self.index = open_index(self.annotations_path, self._cache)

    @classmethod
    def from_root(
        cls,
        root: str | os.PathLike[str] | None,
        split: str,
        *,
        annotations: str | os.PathLike[str] | None = None,
        frames: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> VideoDataset:
        """Opens a split of the dataset in `root` by its layout; explicit paths override it.

        Raises:
            DataError: no layout fits, or the annotation file is not valid.
        """
        path = annotation_file(root, split, annotations=annotations, frames=frames)
        base = Path(root) if root is not None else Path()
        dataset = cls(path, frames or base, cache=cache)
        if frames is None:
            dataset.frames_path = find_frames(base, split, dataset.some_file_names())
        return dataset

    def some_file_names(self) -> list[str]:
        """The names of the first frames of a few videos, to find their folder."""
        return [self.file_name(int(f)) for f in self.index.frame_starts[:-1][:_PROBED_VIDEOS]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; label i is class_names[i - 1]."""
        return self._categories.names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The dataset's own ids of the classes, in the order of the labels."""
        return self._categories.ids

    @property
    def categories(self) -> Categories:
        """Ids and names of the classes."""
        return self._categories

    @property
    def labelled(self) -> bool:
        """Whether the annotation file has annotations at all, rather than videos alone."""
        return bool(self.index.labelled[0])

    @property
    def scorable(self) -> bool:
        """Whether it has an object that can be found or missed: an annotation that is not a crowd region."""
        return self.labelled and bool((self.index.crowds == 0).any())

    @property
    def annotated_frames(self) -> Ints:
        """All frames with an instance to learn from, numbered over the whole dataset; see `locate`."""
        return self.index.annotated_frames

    def __len__(self) -> int:
        return len(self.index.video_ids)

    def file_name(self, frame: int) -> str:
        """File name of a frame numbered over the whole dataset, as in the annotations."""
        start, end = self.index.name_starts[frame : frame + 2]
        return self.index.names[start:end].tobytes().decode()

    def video(self, index: int) -> VideoInfo:
        """The video at a position 0..len - 1."""
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        start, end = self.index.frame_starts[index : index + 2]
        height, width = self.index.video_sizes[index]
        names = tuple(self.file_name(frame) for frame in range(start, end))
        return VideoInfo(index, int(self.index.video_ids[index]), (int(height), int(width)), names)

    def video_id(self, index: int) -> int:
        """The file's own id of the video at a position."""
        return int(self.index.video_ids[index])

    def length(self, index: int) -> int:
        """The number of frames of the video at a position."""
        return int(self.index.frame_starts[index + 1] - self.index.frame_starts[index])

    def locate(self, frame: int) -> tuple[int, int]:
        """(video, position in it) of a frame numbered over the whole dataset."""
        video = int(np.searchsorted(self.index.frame_starts, frame, side="right")) - 1
        return video, frame - int(self.index.frame_starts[video])

    def annotated_in(self, video: int) -> Ints:
        """Positions of the annotated frames in one video, ascending."""
        start, end = self.index.frame_starts[video : video + 2]
        low, high = np.searchsorted(self.index.annotated_frames, (start, end))
        return np.asarray(self.index.annotated_frames[low:high] - start, dtype=np.int64)

    def frame_path(self, video: int, position: int) -> Path:
        """Where the frame at `position` of the video is stored."""
        return self.frames_path / self.file_name(int(self.index.frame_starts[video]) + position)

    def read_frame(self, video: int, position: int) -> npt.NDArray[np.uint8]:
        """The RGB frame (h, w, 3), oriented by `read_image` for the size that the annotations state.

        Raises:
            DataError: it is missing, unreadable, truncated, or not of that size.
        """
        image, orientation = self.read_oriented(video, position)
        settled = orientation == 1 or (swaps_sides(orientation) and image.shape[0] != image.shape[1])
        if not settled and not self._told_of_turns:
            self._told_of_turns = True
            said = f"frame {self.frame_path(video, position)} is {describe_turn(orientation)} and read upright"
            _log.warning("%s; `stmask data check --frames` counts such frames", said)
        return image

    def read_oriented(self, video: int, position: int) -> tuple[npt.NDArray[np.uint8], int]:
        """What `read_frame` reads, and the EXIF orientation of its file."""
        path = self.frame_path(video, position)
        height, width = (int(n) for n in self.index.video_sizes[video])
        image, orientation = read_oriented(path, size=(height, width))
        if image.shape[:2] != (height, width):
            found = f"{image.shape[1]} x {image.shape[0]}"
            turned = f" ({describe_turn(orientation)})" if orientation > 1 else ""
            raise DataError(f"frame {path} is {found}{turned}, {self.annotations_path} says {width} x {height}")
        return image, orientation

    def instances(self, video: int, position: int) -> FrameInstances:
        """The instances of a frame, in file order; there may be none.

        Raises:
            DataError: a mask does not fit the frame; the message names the annotation.
        """
        rows = self._present(video, position, crowds=False)
        masks = tuple(self._mask(video, position, int(row)) for row in rows)
        return FrameInstances(labels=self.index.labels[rows], track_ids=rows + 1, masks=masks)

    def crowds(self, video: int, position: int) -> tuple[npt.NDArray[np.uint8], ...]:
        """The masks (height, width) of the crowd regions of a frame; raises as `instances`."""
        rows = self._present(video, position, crowds=True)
        return tuple(self._mask(video, position, int(row)) for row in rows)

    def _present(self, video: int, position: int, *, crowds: bool) -> Ints:
        """The annotations of a video, crowds or others, that have a segmentation in a frame."""
        index = self.index
        rows = np.arange(*index.annotation_starts[video : video + 2], dtype=np.int64)
        seen = index.encodings[index.segment_starts[rows] + position] != Encoding.ABSENT
        chosen: Ints = rows[seen & (index.crowds[rows].astype(np.bool_) == crowds)]
        return chosen

    def _mask(self, video: int, position: int, row: int) -> npt.NDArray[np.uint8]:
        index = self.index
        height, width = (int(n) for n in index.video_sizes[video])
        segment = int(index.segment_starts[row]) + position
        data = index.data[index.data_starts[segment] : index.data_starts[segment + 1]].tobytes()
        try:
            return decode(int(index.encodings[segment]), data, height, width)
        except ValueError as error:
            where = f"annotation {index.annotation_ids[row]}: segmentations[{position}]"
            raise DataError(f"{self.annotations_path}: {where}: {error}") from error


def require_annotated(dataset: VideoDataset) -> None:
    """Raises DataError if there is nothing to learn from in a dataset."""
    if not dataset.labelled:
        raise DataError(f"{dataset.annotations_path} has no annotations, so it cannot be trained on")
    if len(dataset.annotated_frames) == 0:
        raise DataError(f"{dataset.annotations_path} has no annotated frame, so there is nothing to learn from")
