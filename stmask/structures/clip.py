"""What enters the network in training: clips of frames and their targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from stmask.structures._checks import require_shape

_Record = TypeVar("_Record", "FrameTargets", "Clip")


@dataclass(frozen=True, slots=True)
class FrameTargets:
    """The annotated instances of one frame, N of them (N = 0 is normal).

    Attributes:
        boxes: (N, 4) float, xyxy in [0, 1] of the padded network input.
        labels: (N,) int64 in 1..K; 0 is the background and never appears here.
        masks: (N, H, W) bool at the padded network input's size.
        track_ids: (N,) int64 > 0, equal for the same object in every frame of a video.
        crowds: (M, 4) float, xyxy in [0, 1], crowd regions: nothing is learned from them.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor
    track_ids: Tensor
    crowds: Tensor = field(default_factory=lambda: torch.zeros(0, 4))

    def __post_init__(self) -> None:
        n = self.labels.shape[0]
        require_shape("boxes", self.boxes, (n, 4))
        require_shape("labels", self.labels, (n,))
        require_shape("masks", self.masks, (n, None, None))
        require_shape("track_ids", self.track_ids, (n,))
        require_shape("crowds", self.crowds, (None, 4))

    def __len__(self) -> int:
        return self.labels.shape[0]

    def to(self, *args: Any, **kwargs: Any) -> FrameTargets:
        """The same record on another device."""
        return _each(self, lambda value: value.to(*args, **kwargs))

    def pin_memory(self) -> FrameTargets:
        """The same targets in pinned memory."""
        return _each(self, lambda value: value.pin_memory())


@dataclass(frozen=True, slots=True)
class Clip:
    """A batch of B clips of T frames each; T = 2 (reference, target) for training STMask.

    Attributes:
        frames: (B, T, 3, H, W) float, normalised, zero padded at the bottom and on the right.
        image_sizes: (B, T, 2) int64, (height, width) of each frame inside the padded input.
        targets: `targets[b][t]` of each frame.
        video_ids: (B,) int64, as in the dataset.
        frame_indices: (B, T) int64, position of each frame in its video.
    """

    frames: Tensor
    image_sizes: Tensor
    targets: tuple[tuple[FrameTargets, ...], ...]
    video_ids: Tensor
    frame_indices: Tensor

    def __post_init__(self) -> None:
        require_shape("frames", self.frames, (None, None, 3, None, None))
        b, t = self.frames.shape[:2]
        require_shape("image_sizes", self.image_sizes, (b, t, 2))
        require_shape("video_ids", self.video_ids, (b,))
        require_shape("frame_indices", self.frame_indices, (b, t))
        if len(self.targets) != b or any(len(row) != t for row in self.targets):
            raise ValueError(f"targets must be {b} x {t}, got {[len(row) for row in self.targets]}")

    def __len__(self) -> int:
        return self.frames.shape[0]

    @property
    def flat_targets(self) -> tuple[FrameTargets, ...]:
        """Targets of the B*T frames, clip by clip, in the order of `frames.flatten(0, 1)`."""
        return tuple(target for row in self.targets for target in row)

    def to(self, *args: Any, **kwargs: Any) -> Clip:
        """The same clip on another device."""
        return _each(self, lambda value: value.to(*args, **kwargs))

    def pin_memory(self) -> Clip:
        """The same clip in pinned memory."""
        return _each(self, lambda value: value.pin_memory())


def _each(record: _Record, change: Callable[[Any], Any]) -> _Record:
    """A record with `change` done to every field, and to everything inside of tuples."""

    def changed(value: Any) -> Any:
        return tuple(map(changed, value)) if isinstance(value, tuple) else change(value)

    return replace(record, **{f.name: changed(getattr(record, f.name)) for f in fields(record)})


def empty_targets(height: int, width: int) -> FrameTargets:
    """Targets of a frame without instances, for an input of `height` x `width`."""
    return FrameTargets(
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        masks=torch.zeros(0, height, width, dtype=torch.bool),
        track_ids=torch.zeros(0, dtype=torch.int64),
    )
