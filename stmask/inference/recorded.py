"""Frames of several videos side by side by one CUDA graph: from the uploaded frames to the tracked instances."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stmask.models import Tracker, VideoModel
from stmask.models.base import Lanes, Reports
from stmask.ops.frames import FramePreprocessor
from stmask.structures import Instances

Image = npt.NDArray[np.uint8]
_SLOTS = 64  # tracks of a video for which there is room at first
_WARM_UP = 3
_log = logging.getLogger(__name__)


class NoLanes(Exception):
    """A model or its tracker has no lanes. PyTorch's NotImplementedError says another thing: a kernel is missing."""


class RecordedSteps:
    """Runs `Lanes` as a CUDA graph, recorded once and again when there are more tracks than it has room for.

    A step copies the frames to the GPU, starts the graph and waits once, for how many instances there are. On a CPU
    the same is done without a graph, for tests.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: VideoModel,
        tracker: Tracker,
        *,
        videos: int,
        preprocessor: FramePreprocessor,
        device: torch.device,
        autocast: torch.dtype | None,
        slots: int = _SLOTS,
    ) -> None:
        """
        Args:
            model: in evaluation mode and on the device; with `autocast` a copy with weights of that type is used.
            tracker: whose settings count.
            videos: how many, V.
            preprocessor: of the frames.
            device: that all is done on.
            autocast: half precision type for the network, None for float32.
            slots: tracks of a video for which there is room at first.

        Raises:
            NoLanes: the model or its tracker can't be run this way.
        """
        self._model = model if autocast is None else model.ready(autocast)
        self._tracker = tracker
        self._preprocessor, self._device, self._autocast = preprocessor, device, autocast
        shape = (videos, preprocessor.height, preprocessor.width, 3)
        on_gpu = device.type == "cuda"
        self._given = torch.zeros(shape, dtype=torch.uint8, pin_memory=on_gpu)
        self._given_active = torch.zeros(videos, dtype=torch.bool, pin_memory=on_gpu)
        self._images = self._given.to(device, copy=True)
        self._active = self._given_active.to(device, copy=True)
        self._counts = torch.zeros(videos, 2, dtype=torch.int64, pin_memory=on_gpu)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._reports: Reports
        self._record(slots, state=None)

    @torch.inference_mode()
    def reset(self, video: int) -> None:
        """The next frame of this video is the first of another one."""
        self._lanes.reset(video)

    @torch.inference_mode()
    def load(self, images: Sequence[Image | None]) -> None:
        """Sends one resized frame of each video to the device; None for a video that has none now."""
        self._given_active.copy_(torch.tensor([image is not None for image in images]))
        given = self._given.numpy()
        for place, image in zip(given, images, strict=True):
            if image is not None:
                place[:] = image
        self._images.copy_(self._given, non_blocking=True)
        self._active.copy_(self._given_active, non_blocking=True)

    @torch.inference_mode()
    def run(self) -> Tensor:
        """One step with the frames that were sent; the instances of each video (V,), on the CPU."""
        while True:
            if self._graph is None:
                self._reports = self._step()
            else:
                self._graph.replay()
            self._counts.copy_(self._reports.counts, non_blocking=True)
            if self._device.type == "cuda":
                torch.cuda.current_stream(self._device).synchronize()
            most = int(self._counts[:, 1].max())
            if most <= self._lanes.slots:
                return self._counts[:, 0].clone()
            self._record(-(-most * 5 // 4 // _SLOTS) * _SLOTS, state=self._lanes.state())

    @torch.inference_mode()
    def results(self, counts: Tensor) -> list[tuple[Instances, Tensor, Tensor]]:
        """Instances, ids and which are supplemented, of each video, with memory of their own."""
        reports = self._reports.copied()
        return [reports.of(video, count) for video, count in enumerate(counts.tolist())]

    def _record(self, slots: int, state: list[Tensor] | None) -> None:
        if self._device.type != "cuda":
            self._lanes = self._new_lanes(slots, state)
            return
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            self._lanes = self._new_lanes(slots, state)
            before = self._lanes.state()
            for _ in range(_WARM_UP):
                self._step()
            self._lanes.restore(before)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may use the GPU meanwhile
            self._reports = self._step()
        self._graph = graph

    def _new_lanes(self, slots: int, state: list[Tensor] | None) -> Lanes:
        with self._half():
            lanes = self._model.lanes(self._tracker, self._inputs(), slots=slots)
        if lanes is None:
            raise NoLanes(f"{type(self._model).__name__} with this tracker has no lanes")
        if state is not None:
            lanes.restore(state)
        return lanes

    def _step(self) -> Reports:
        with self._half():
            return self._lanes.step(self._inputs(), self._active)

    def _inputs(self) -> Tensor:
        frames = self._preprocessor.normalise_batch(self._images)
        return frames.contiguous(memory_format=torch.channels_last)

    def _half(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=self._autocast, enabled=self._autocast is not None)


def recorded_steps(
    model: VideoModel,
    tracker: Tracker,
    *,
    videos: int,
    preprocessor: FramePreprocessor,
    device: torch.device,
    autocast: torch.dtype | None,
) -> RecordedSteps | None:
    """`RecordedSteps` on a GPU, where the model has them; None elsewhere, and where recording fails, which is said."""
    if device.type != "cuda":
        return None
    try:
        return RecordedSteps(model, tracker, videos=videos, preprocessor=preprocessor, device=device, autocast=autocast)
    except NoLanes:
        return None
    except RuntimeError as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        _log.warning("no CUDA graph could be recorded, so frames take longer: %s", reason[0])
        return None
