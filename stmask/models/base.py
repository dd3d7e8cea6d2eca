"""The contract of a model: all that training, inference, checkpoints and experiments know of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stmask.structures import Clip, Frame, LossReport, TrackedFrame


class Tracker(Protocol):
    """Anything that gives the instances of successive frames their identities."""

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
    """A network together with what its outputs mean: what it learns from, what it finds, how it follows it.

    Attributes:
        num_classes: K, without the background.
        clip_length: frames of a clip that its losses need at least.
        card: what a checkpoint said of the network (`stmask.checkpoints.ModelCard`); None for a fresh one.
    """

    num_classes: int
    clip_length: int = 1
    card: Any = None

    def losses(self, clip: Clip, *, generator: torch.Generator) -> LossReport:
        """What B clips of T frames cost the network as it is, to be minimised.

        Args:
            clip: T is at least `clip_length`.
            generator: on the CPU, for whatever is drawn at random.
        """
        raise NotImplementedError

    def detect(self, frames: Tensor) -> Sequence[Frame]:
        """What is in B frames (B, 3, H, W), normalised and padded: for each its instances and what a tracker needs."""
        raise NotImplementedError

    def tracker(self) -> Tracker:
        """A fresh tracker for the frames of one video after another."""
        raise NotImplementedError
