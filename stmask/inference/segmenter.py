"""`VideoSegmenter`: frames of a video in, tracked instances out, one frame at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stmask.checkpoints import ModelCard
from stmask.inference.recorded import RecordedSteps, recorded_steps
from stmask.models import Tracker, VideoModel
from stmask.ops.frames import FramePreprocessor
from stmask.structures import Frame, Instances, Placement, TrackedFrame

if TYPE_CHECKING:
    from stmask.inference.side_by_side import SideBySide


class VideoSegmenter:
    """Runs a model and its tracker over a video. Memory does not grow with the video's length.

    >>> segmenter = VideoSegmenter(stmask.load("best.ckpt"))
    >>> for frame in frames:  # (h, w, 3) uint8 RGB
    ...     tracked = segmenter.step(frame)
    ...     masks = tracked.masks_at(frame.shape[:2])

    Attributes:
        class_names: name of label 1, 2, ...
        timings: seconds spent so far, over all videos, by stage. `network` is the model's forward pass, `detection` the
            rest of its `detect`. By a CUDA graph `network` is all three of network, detection and tracking.
        autocast: half precision type of the network, None for float32.
        placement: where frames lie in the network's input.
    """

    def __init__(
        self,
        model: VideoModel,
        *,
        tracker: Tracker | None = None,
        preprocessor: FramePreprocessor | None = None,
        class_names: Sequence[str] = (),
        device: torch.device | str | None = None,
        autocast: torch.dtype | None = None,
        graphs: bool = True,
    ) -> None:
        """
        Args:
            model: put in evaluation mode and moved to `device`.
            tracker: default the model's own.
            preprocessor: default that of the model's card, or `FramePreprocessor()`, that is 360 x 640.
            class_names: names of the labels; default the card's.
            device: default where the model is.
            autocast: half precision type for the network, None for float32.
            graphs: on a GPU, `step` and `side_by_side` record a CUDA graph where the model and its tracker allow it.
                The weights must stay as they are then.
        """
        here = next((value.device for value in model.parameters()), "cpu")  # an exported model has no parameters
        self.device = torch.device(here if device is None else device)
        self.model = model.to(self.device).eval()
        card: ModelCard | None = model.card
        self.tracker = tracker or model.tracker()
        self._make_tracker: Callable[[], Tracker] = model.tracker if tracker is None else partial(deepcopy, tracker)
        self.preprocessor = preprocessor or (FramePreprocessor() if card is None else card.preprocessor)
        self.class_names = tuple(class_names) or (() if card is None else card.class_names)
        self.timings = {"preprocessing": 0.0, "network": 0.0, "detection": 0.0, "tracking": 0.0}
        self.autocast = autocast
        size = self.preprocessor.height, self.preprocessor.width
        self.placement = Placement(image_size=size, padded_size=self.preprocessor.padded_size)
        self._graphs = self._wants_graph = graphs
        self._recorded: RecordedSteps | None = None
        self._frame_index = 0  # of the graph's

    def reset(self) -> None:
        """The next frame is the first of a new video."""
        self.tracker.reset()
        self._frame_index = 0
        if self._recorded is not None:
            self._recorded.reset(0)

    def trackers(self, number: int) -> list[Tracker]:
        """Fresh ones, each the state of a video of its own, for `step_many`."""
        made = [self._make_tracker() for _ in range(number)]
        for tracker in made:
            tracker.reset()
        return made

    def side_by_side(self, videos: int) -> SideBySide:
        """So many videos at once, apart from the one of `step`."""
        from stmask.inference.side_by_side import SideBySide  # which needs this module

        return SideBySide(self, videos=videos, graphs=self._graphs)

    def step(self, frame: npt.NDArray[np.uint8] | Tensor) -> TrackedFrame:
        """The next frame of the video, (h, w, 3) uint8 RGB of any size."""
        if self._wants_graph:
            self._wants_graph = False  # it is tried once
            self._recorded = self.recorded(videos=1)
        if self._recorded is not None:
            return self._by_graph(frame, self._recorded)
        (tracked,) = self.step_many([frame], [self.tracker])
        return tracked

    def recorded(self, *, videos: int) -> RecordedSteps | None:
        """The steps of several videos as one CUDA graph, apart from the segmenter's own video; None where not."""
        return recorded_steps(
            self.model,
            self._make_tracker(),
            videos=videos,
            preprocessor=self.preprocessor,
            device=self.device,
            autocast=self.autocast,
        )

    def _by_graph(self, frame: npt.NDArray[np.uint8] | Tensor, recorded: RecordedSteps) -> TrackedFrame:
        image = as_image(frame)
        with self._timed("preprocessing"):
            recorded.load([self.preprocessor.resize(image)])
        with self._timed("network"):
            counts = recorded.run()
        with self._timed("tracking"):
            (result,) = recorded.results(counts)
        self._frame_index += 1
        return TrackedFrame(self._frame_index - 1, *result, placement=self.placement)

    @torch.inference_mode()
    def step_many(
        self, frames: Sequence[npt.NDArray[np.uint8] | Tensor], trackers: Sequence[Tracker]
    ) -> list[TrackedFrame]:
        """The next frame of each of several videos, all in one pass of the network; `step` and its video stay apart.

        Args:
            frames: (h, w, 3) uint8 RGB each, of any sizes.
            trackers: of each video its own, from `trackers`; a reset one begins a video.

        Returns:
            As `step` would, but for rounding: a network may compute a batch in another order.
        """
        if len(set(map(id, trackers))) != len(frames):
            raise ValueError(f"{len(frames)} frames need as many trackers, all different, got {len(trackers)}")
        found = self._detect(frames)
        with self._timed("tracking"):
            tracked = [tracker.step(frame) for tracker, frame in zip(trackers, found, strict=True)]
        return [replace(frame, placement=self.placement) for frame in tracked]

    def detect(self, image: npt.NDArray[np.uint8] | Tensor) -> TrackedFrame:
        """The instances in one image, (h, w, 3) uint8 RGB of any size, each as a track of its own.

        The tracker is not used, and the state of a video, if any, stays unchanged.
        """
        (found,) = self.detect_many([image])
        return found

    @torch.inference_mode()
    def detect_many(self, images: Sequence[npt.NDArray[np.uint8] | Tensor]) -> list[TrackedFrame]:
        """As `detect`, of several images in one pass of the network."""
        return [self._untracked(frame.instances) for frame in self._detect(images)]

    def _untracked(self, instances: Instances) -> TrackedFrame:
        ids = torch.arange(len(instances), device=instances.scores.device)
        return TrackedFrame(0, instances, ids, torch.zeros_like(ids, dtype=torch.bool), self.placement)

    def _detect(self, frames: Sequence[npt.NDArray[np.uint8] | Tensor]) -> Sequence[Frame]:
        images = [as_image(frame) for frame in frames]
        with self._timed("preprocessing"):
            inputs = torch.stack([self.preprocessor(image) for image in images])
            inputs = inputs.to(self.device, memory_format=torch.channels_last)
        before = self.timings["network"]
        half = torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None)
        with self._timed("detection"), self._forward_timed(), half:
            found = self.model.detect_within(inputs, image_size=self.placement.image_size)
        self.timings["detection"] -= self.timings["network"] - before
        if len(found) != len(images):
            raise ValueError(f"{type(self.model).__name__}.detect gave {len(found)} frames for {len(images)}")
        return found

    @contextmanager
    def _forward_timed(self) -> Iterator[None]:
        """Counts the time of the model's forward pass as `network`."""
        start = 0.0

        def enter(*_: Any) -> None:
            nonlocal start
            start = time.perf_counter()

        def leave(*_: Any) -> None:
            self._count("network", start)

        handles = self.model.register_forward_pre_hook(enter), self.model.register_forward_hook(leave)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._count(stage, start)

    def _count(self, stage: str, start: float) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.timings[stage] += time.perf_counter() - start


def as_image(frame: npt.NDArray[np.uint8] | Tensor) -> npt.NDArray[np.uint8]:
    """A frame as an array.

    Raises:
        ValueError: not (h, w, 3) uint8.
    """
    image = frame.cpu().numpy() if isinstance(frame, Tensor) else frame
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"a frame must be (h, w, 3) uint8 RGB, got {tuple(image.shape)} {image.dtype}")
    return image
