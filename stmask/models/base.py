"""The contract of a model: all that training, inference, checkpoints and experiments know of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from stmask.structures import Clip, Frame, Instances, LossReport, TrackedFrame

if TYPE_CHECKING:
    from typing_extensions import Self


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


class Reports(Protocol):
    """What is reported of one frame of each of V videos."""

    @property
    def counts(self) -> Tensor:
        """(V, 2) int64 on the device: instances of each video, and the tracks that it has now.

        If these are more than there is room for, in one video, nothing was kept of the step.
        """
        ...

    def copied(self) -> Reports:
        """The same in other memory."""
        ...

    def of(self, video: int, count: int) -> tuple[Instances, Tensor, Tensor]:
        """The `count` instances of one video, their track ids and which are supplemented; see `TrackedFrame`."""
        ...


class Lanes(Protocol):
    """`detect` and `tracker` for V videos side by side, over tensors of fixed shapes and with the same results.

    A step waits for no value on the device, and what it keeps for the next is changed in place: a CUDA graph can
    record it.

    Attributes:
        slots: tracks of a video for which there is room.
    """

    slots: int

    def step(self, frames: Tensor, active: Tensor) -> Reports:
        """The next frame of the active videos (V,) bool of frames (V, 3, H, W); the others stay where they are."""
        ...

    def reset(self, video: int) -> None:
        """The next frame of this video is the first of another one."""
        ...

    def state(self) -> list[Tensor]:
        """A copy of what is kept, for `restore`."""
        ...

    def restore(self, state: list[Tensor]) -> None:
        """Puts back what `state` gave, also if that has room for fewer tracks."""
        ...


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

    def detect_within(self, frames: Tensor, *, image_size: tuple[int, int]) -> Sequence[Frame]:
        """As `detect`, of frames whose images are of (h, w) pixels, the rest of each being padding at the bottom and on
        the right. This is what is called; a network to which it makes no difference has `detect` alone.
        """
        return self.detect(frames)

    def tracker(self) -> Tracker:
        """A fresh tracker for the frames of one video after another."""
        raise NotImplementedError

    def lanes(self, tracker: Tracker, frames: Tensor, *, slots: int) -> Lanes | None:
        """`Lanes` that track as this tracker does, for frames (V, 3, H, W) like these; None where there are none."""
        return None

    def ready(self, dtype: torch.dtype) -> Self:
        """A copy for inference alone, with weights of this precision."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A function of tensors, of the few that a model consists of, which a file of another format can hold.

    Attributes:
        function: takes the inputs by position, returns a tuple of tensors; what it does depends on shapes alone.
        inputs: an example of each by name, in the order of the arguments.
        outputs: names of what comes back, in order.
        free: what the first axis of an input counts, where it may have any length: two or more in the example.
    """

    function: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    free: Mapping[str, str]


class RunStage(Protocol):
    """A stage that is computed elsewhere.

    Attributes:
        inputs, outputs: their names.
    """

    inputs: Sequence[str]
    outputs: Sequence[str]

    def __call__(self, *inputs: Tensor) -> Mapping[str, Tensor]:
        """The outputs by name, on the CPU."""
        ...


@runtime_checkable
class Exportable(Protocol):
    """A `VideoModel` that `stmask export` can write for another runtime (docs/export.md)."""

    def stages(self, frames: Tensor) -> Mapping[str, Stage]:
        """What it computes, by name; the first stage takes `frames`, an example (2, 3, H, W), and has their size."""
        ...

    def by_stages(self, stages: Mapping[str, RunStage]) -> VideoModel:
        """A model that computes nothing but by these, with the detector and the tracker of this one.

        This one may be without storage: its weights are not used.

        Raises:
            ValueError: stages of another model.
        """
        ...
