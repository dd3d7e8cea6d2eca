"""The contract of a model: all that training, inference, checkpoints and experiments know of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stmask.structures import Clip, Frame, LossReport, TrackedFrame


class Tracker(Protocol):
    """Gives the instances of successive frames their identities."""

    def reset(self) -> None:
        """Forgets everything: the next frame is the first of a video."""
        ...

    def step(self, frame: Frame) -> TrackedFrame:
        """The next frame of the video, as reported."""
        ...


class TrackerFactory(Protocol):
    """Makes a fresh tracker, such as a partial of its class."""

    def __call__(self) -> Tracker: ...


class VideoModel(nn.Module):
    """A network together with the meaning of its outputs: its losses, its detections, its tracker.

    Attributes:
        num_classes: K, without the background.
        clip_length: the fewest frames of a clip that its losses need.
        card: what a checkpoint said about the network (`stmask.checkpoints.ModelCard`); None for a fresh one.
    """

    num_classes: int
    clip_length: int = 1
    card: Any = None

    def losses(self, clip: Clip, *, generator: torch.Generator) -> LossReport:
        """The losses of B clips of T frames, to be minimised.

        Args:
            clip: T is at least `clip_length`.
            generator: on the CPU, for whatever is drawn at random.
        """
        raise NotImplementedError

    def detect(self, frames: Tensor) -> Sequence[Frame]:
        """The detections in B frames (B, 3, H, W), normalised and padded: instances and what a tracker needs."""
        raise NotImplementedError

    def tracker(self) -> Tracker:
        """A fresh tracker for the frames of one video after another."""
        raise NotImplementedError
