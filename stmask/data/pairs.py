"""Pairs of frames to train on: a reference frame and a target frame of the same video, a few frames apart."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from stmask.data.augment import NO_AUGMENTATION, Augmentation, ClipAugmenter, ImageMover, Motion
from stmask.data.shuffle import shuffled
from stmask.data.ytvis import FrameInstances, VideoDataset, require_annotated
from stmask.errors import DataError
from stmask.ops.frames import FramePreprocessor
from stmask.structures import Clip, FrameTargets

_log = logging.getLogger(__name__)

Balance = Literal["frames", "videos"]
OnError = Literal["raise", "skip"]
_CROPS_TRIED = 5  # draws of a crop until one keeps an object in the reference frame
_SAMPLES_TRIED = 20  # unreadable samples in a row until the run stops even with on_error="skip"


class SampleStream(Dataset[Clip]):
    """An endless stream of reproducible samples cut into epochs: sample i of epoch e is number e * len + i of it.

    A sample depends on nothing but its number and the seed, whatever the worker, the rank or what was read before.

    Attributes:
        samples_per_epoch: where the stream is cut.
        epoch: what an index without an epoch refers to.
    """

    samples_per_epoch: int
    epoch: int = 0

    def draw(self, position: int) -> Clip:
        """Sample number `position` of the stream."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.samples_per_epoch

    def set_epoch(self, epoch: int) -> None:
        """Moves on to the samples of another epoch."""
        self.epoch = epoch

    def __getitem__(self, key: int | tuple[int, int]) -> Clip:
        """Sample `i` of the present epoch, or `(e, i)` of any epoch."""
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self.draw(epoch * len(self) + index)


class FramePairDataset(SampleStream):
    """Random frame pairs as clips of one pair each, (1, 2, 3, H, W); `collate_pairs` joins them to a batch.

    In the stream every annotated frame (or video) comes up once as reference before any comes up again.

    Args:
        gap: the target frame is at most so many frames away from the reference frame. It differs from it unless the
            video has only one annotated frame; where no annotated frame is that near, it is the nearest.
        balance: what comes up equally often as reference: "frames", or "videos" (then with one frame of it at random).
        motion: moves the one annotated frame of a video that has no other, so that images serve like videos.
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
        gap: int = 5,
        balance: Balance = "frames",
        augmentation: Augmentation | None = None,
        motion: Motion | None = None,
        seed: int = 0,
        samples_per_epoch: int | None = None,
        on_error: OnError = "raise",
    ) -> None:
        require_annotated(dataset)
        if gap < 1:
            raise ValueError(f"gap must be at least 1, got {gap}")
        if balance not in ("frames", "videos"):
            raise ValueError(f"balance must be 'frames' or 'videos', got {balance!r}")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
        if samples_per_epoch is not None and samples_per_epoch < 1:
            raise ValueError(f"samples_per_epoch must be at least 1, got {samples_per_epoch}")
        self.dataset = dataset
        self.preprocessor = preprocessor
        self.gap = gap
        self.seed = seed
        self.on_error = on_error
        self.skipped = 0  # unreadable samples so far, in this process
        self._videos = _annotated_videos(dataset) if balance == "videos" else None
        self.samples_per_epoch = samples_per_epoch or self.references
        size = {"height": preprocessor.height, "width": preprocessor.width}
        self.augmenter = ClipAugmenter(augmentation or NO_AUGMENTATION, **size)
        self._mover = ImageMover(motion) if motion is not None else None

    @property
    def references(self) -> int:
        """How many different frames (or videos) the stream goes through before it repeats one."""
        return len(self.dataset.annotated_frames) if self._videos is None else len(self._videos)

    def draw(self, position: int) -> Clip:
        """Sample number `position` of the endless stream."""
        rng = np.random.default_rng((self.seed, position))
        reference = shuffled(position, self.references, self.seed)
        for _ in range(_SAMPLES_TRIED):
            try:
                return self._read(reference, rng)
            except DataError as error:
                if self.on_error == "raise":
                    raise
                self.skipped += 1
                _log.warning("skipped a sample (%d so far in this process): %s", self.skipped, error)
                reference = int(rng.integers(self.references))
        raise DataError(f"{_SAMPLES_TRIED} samples in a row could not be read, see the log for each")

    def _read(self, reference: int, rng: np.random.Generator) -> Clip:
        video, first = self._reference_frame(reference, rng)
        positions = (first, self._target_frame(video, first, rng))
        frames = [self.dataset.read_frame(video, p) for p in positions]
        instances = [self.dataset.instances(video, p) for p in positions]
        masks: list[Sequence[npt.NDArray[np.uint8]]] = [found.masks for found in instances]
        if self._mover is not None and positions[0] == positions[1]:
            frames[1], masks[1] = self._mover(frames[1], masks[1], int(rng.integers(2**32)))
        for _ in range(_CROPS_TRIED if self.augmenter.augmentation.crops else 1):
            images, moved = self.augmenter(frames, masks, int(rng.integers(2**32)))
            if any(mask.any() for mask in moved[0]):
                break
        size = torch.tensor([self.preprocessor.height, self.preprocessor.width])
        return Clip(
            frames=torch.stack([self.preprocessor.normalise(image) for image in images])[None],
            image_sizes=size.expand(1, 2, 2).clone(),
            targets=(tuple(self._targets(found, kept) for found, kept in zip(instances, moved, strict=True)),),
            video_ids=torch.tensor([self.dataset.video_id(video)]),
            frame_indices=torch.tensor([positions]),
        )

    def _reference_frame(self, reference: int, rng: np.random.Generator) -> tuple[int, int]:
        if self._videos is None:
            return self.dataset.locate(int(self.dataset.annotated_frames[reference]))
        video = int(self._videos[reference])
        return video, int(rng.choice(self.dataset.annotated_in(video)))

    def _target_frame(self, video: int, reference: int, rng: np.random.Generator) -> int:
        annotated = self.dataset.annotated_in(video)
        others = annotated[annotated != reference]
        if len(others) == 0:
            return reference
        distance = np.abs(others - reference)
        return int(rng.choice(others[distance <= max(self.gap, int(distance.min()))]))

    def _targets(self, instances: FrameInstances, masks: list[npt.NDArray[np.uint8]]) -> FrameTargets:
        """Targets of the objects that are still in sight, boxes recomputed from their masks."""
        height, width = self.preprocessor.padded_size
        boxes_px = np.array([cv2.boundingRect(mask) for mask in masks], dtype=np.float32).reshape(-1, 4)  # x, y, w, h
        boxes_px[:, 2:] += boxes_px[:, :2]
        kept = [i for i, mask in enumerate(masks) if mask.any()]
        padded = np.zeros((len(kept), height, width), dtype=np.bool_)
        for row, i in enumerate(kept):
            padded[row, : masks[i].shape[0], : masks[i].shape[1]] = masks[i]
        return FrameTargets(
            boxes=torch.from_numpy(boxes_px[kept] / np.array([width, height, width, height], dtype=np.float32)),
            labels=torch.from_numpy(instances.labels[kept]),
            masks=torch.from_numpy(padded),
            track_ids=torch.from_numpy(instances.track_ids[kept]),
        )


def _annotated_videos(dataset: VideoDataset) -> npt.NDArray[np.int64]:
    """The videos that have at least one annotated frame, ascending."""
    firsts = np.searchsorted(dataset.annotated_frames, dataset.index.frame_starts)
    return np.flatnonzero(np.diff(firsts))
