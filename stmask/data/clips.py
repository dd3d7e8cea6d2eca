"""Training clips: an endless, reproducible stream of samples, each built around an annotated frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from stmask.data.augment import NO_AUGMENTATION, Augmentation, ClipAugmenter
from stmask.data.shuffle import shuffled
from stmask.data.ytvis import FrameInstances, VideoDataset, require_annotated
from stmask.errors import DataError
from stmask.ops.frames import FramePreprocessor
from stmask.structures import Clip, FrameTargets

_log = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]
Balance = Literal["frames", "videos"]
OnError = Literal["raise", "skip"]
_Stream = TypeVar("_Stream", bound="SampleStream")
_CROPS_TRIED = 5  # attempts at a crop that keeps an object in the reference frame
_SAMPLES_TRIED = 20  # unreadable samples in a row until the run stops even with on_error="skip"


class SampleStream(Dataset[Clip]):
    """An endless stream of reproducible samples cut into epochs: sample i of epoch e is number e * len + i of it.

    A sample depends only on its number and the seed, not on the worker, the rank or what was read before.

    Args:
        references: number of samples in one pass over the data.
        samples_per_epoch: where the stream is cut; None: after each pass.

    Attributes:
        repeat: repeat only this many samples; None for the endless stream.
        epoch: the epoch of an index that does not give one.
    """

    def __init__(self, references: int, *, samples_per_epoch: int | None = None) -> None:
        if samples_per_epoch is not None and samples_per_epoch < 1:
            raise ValueError(f"samples_per_epoch must be at least 1, got {samples_per_epoch}")
        self.references = references
        self.samples_per_epoch = samples_per_epoch or references
        self.repeat: int | None = None
        self.epoch = 0

    def cut(
        self: _Stream, samples_per_epoch: int | None = None, *, multiple_of: int = 1, repeat: int | None = None
    ) -> _Stream:
        """The same stream in other epochs: rounded to a multiple, or with a few samples repeated."""
        other = copy(self)
        other.samples_per_epoch = -(-(samples_per_epoch or self.references) // multiple_of) * multiple_of
        other.repeat, other.epoch = repeat, 0
        return other

    def draw(self, position: int) -> Clip:
        """Sample number `position` of the stream."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.samples_per_epoch

    def set_epoch(self, epoch: int) -> None:
        """Moves on to the samples of another epoch."""
        self.epoch = epoch

    def __getitem__(self, key: int | tuple[int, int]) -> Clip:
        """Sample `i` of the current epoch, or `(e, i)` of any epoch."""
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        position = epoch * len(self) + index
        return self.draw(position if self.repeat is None else position % self.repeat)


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame of a clip as the files have it.

    Attributes:
        position: in its video.
        image: RGB (h, w, 3).
        instances: the objects to learn.
        crowds: masks (h, w) of the crowd regions, from which nothing is learned.
    """

    position: int
    image: Image
    instances: FrameInstances
    crowds: Sequence[Image]


class ClipDataset(SampleStream):
    """Clips around annotated frames, (1, T, 3, H, W); `collate_pairs` joins them to a batch.

    In the stream every annotated frame (or video) comes up once as reference before any comes up again. The subclass
    decides what else is in a clip.

    Args:
        balance: what comes up equally often as reference: "frames", or "videos" (then with one frame of it at random).
        samples_per_epoch: length of an epoch, by default the number of annotated frames (or videos).
        on_error: what to do about a frame or mask that cannot be read: "raise", or "skip" to log it and take another.

    Raises:
        DataError: the dataset has nothing to learn from; later, on access, a frame or an annotation that is broken.
    """

    def __init__(
        self,
        dataset: VideoDataset,
        preprocessor: FramePreprocessor,
        *,
        balance: Balance = "frames",
        augmentation: Augmentation | None = None,
        seed: int = 0,
        samples_per_epoch: int | None = None,
        on_error: OnError = "raise",
    ) -> None:
        require_annotated(dataset)
        if balance not in ("frames", "videos"):
            raise ValueError(f"balance must be 'frames' or 'videos', got {balance!r}")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
        self._videos = _annotated_videos(dataset) if balance == "videos" else None
        references = len(dataset.annotated_frames) if self._videos is None else len(self._videos)
        super().__init__(references, samples_per_epoch=samples_per_epoch)
        self.dataset = dataset
        self.preprocessor = preprocessor
        self.seed = seed
        self.on_error = on_error
        self._skipped = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        size = {"height": preprocessor.height, "width": preprocessor.width}
        self.augmenter = ClipAugmenter(augmentation or NO_AUGMENTATION, **size)

    def shots(self, video: int, reference: int, rng: np.random.Generator) -> Sequence[Shot]:
        """The frames of a clip, the reference frame first, each read by `shot`.

        Raises:
            DataError: a frame or mask that cannot be read.
        """
        raise NotImplementedError

    def shot(self, video: int, position: int) -> Shot:
        """One frame with all of its annotations; raises as `shots`."""
        dataset = self.dataset
        image = dataset.read_frame(video, position)
        return Shot(position, image, dataset.instances(video, position), dataset.crowds(video, position))

    @property
    def skipped(self) -> int:
        """Unreadable samples so far, in this process and the workers that it started."""
        return int(self._skipped)

    def draw(self, position: int) -> Clip:
        """Sample number `position` of the endless stream."""
        rng = np.random.default_rng((self.seed, position))
        reference = shuffled(position, self.references, self.seed)
        for _ in range(_SAMPLES_TRIED):
            try:
                return self._read(reference, rng)
            except DataError as error:
                if self.on_error == "raise":
                    raise DataError(f"{error}; data.on_error=skip goes on without it") from error
                self._skipped += 1
                _log.warning("skipped a sample (%d so far): %s", self.skipped, error)
                reference = int(rng.integers(self.references))
        raise DataError(f"{_SAMPLES_TRIED} samples in a row could not be read, see the log for each")

    def _read(self, reference: int, rng: np.random.Generator) -> Clip:
        video, first = self._reference_frame(reference, rng)
        shots = self.shots(video, first, rng)
        masks = [[*shot.instances.masks, *shot.crowds] for shot in shots]
        objects = [len(shot.instances) for shot in shots]
        for _ in range(_CROPS_TRIED if self.augmenter.augmentation.crops else 1):
            images, moved, seen = self.augmenter([shot.image for shot in shots], masks, int(rng.integers(2**32)))
            if any(seen[0][: objects[0]]):
                break
        targets = tuple(
            self._targets(shot.instances, found, learned=enough[:count])
            for shot, found, enough, count in zip(shots, moved, seen, objects, strict=True)
        )
        size = torch.tensor([self.preprocessor.height, self.preprocessor.width])
        return Clip(
            frames=torch.stack([self.preprocessor.normalise(image) for image in images])[None],
            image_sizes=size.expand(1, len(shots), 2).clone(),
            targets=(targets,),
            video_ids=torch.tensor([self.dataset.video_id(video)]),
            frame_indices=torch.tensor([[shot.position for shot in shots]]),
        )

    def _reference_frame(self, reference: int, rng: np.random.Generator) -> tuple[int, int]:
        if self._videos is None:
            return self.dataset.locate(int(self.dataset.annotated_frames[reference]))
        video = int(self._videos[reference])
        return video, int(rng.choice(self.dataset.annotated_in(video)))

    def _targets(self, instances: FrameInstances, masks: Sequence[Image], *, learned: Sequence[bool]) -> FrameTargets:
        """Targets of the objects, whose masks come first and with boxes recomputed from these, that are to be learned.

        All other masks are regions from which nothing is learned.
        """
        height, width = self.preprocessor.padded_size
        kept = [i for i, enough in enumerate(learned) if enough]
        rest = [mask for i, mask in enumerate(masks) if i not in kept and mask.any()]
        padded = np.zeros((len(kept), height, width), dtype=np.bool_)
        for row, i in enumerate(kept):
            padded[row, : masks[i].shape[0], : masks[i].shape[1]] = masks[i]
        return FrameTargets(
            boxes=self._boxes([masks[i] for i in kept]),
            labels=torch.from_numpy(instances.labels[kept]),
            masks=torch.from_numpy(padded),
            track_ids=torch.from_numpy(instances.track_ids[kept]),
            crowds=self._boxes(rest),
        )

    def _boxes(self, masks: Sequence[Image]) -> Tensor:
        """The boxes (N, 4) xyxy in [0, 1] of the padded input around masks at the input's size."""
        height, width = self.preprocessor.padded_size
        boxes_px = np.array([cv2.boundingRect(mask) for mask in masks], dtype=np.float32).reshape(-1, 4)  # x, y, w, h
        boxes_px[:, 2:] += boxes_px[:, :2]
        return torch.from_numpy(boxes_px / np.array([width, height, width, height], dtype=np.float32))


def _annotated_videos(dataset: VideoDataset) -> npt.NDArray[np.int64]:
    """The videos that have at least one annotated frame, ascending."""
    firsts = np.searchsorted(dataset.annotated_frames, dataset.index.frame_starts)
    return np.flatnonzero(np.diff(firsts))
