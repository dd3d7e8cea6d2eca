"""Frames per second of networks, by one procedure.

Timed is `VideoSegmenter.step`, one frame at a time: from an RGB frame in memory at the network's input size to the
tracked instances of that frame with their masks at the prototypes' resolution. So normalising, the copy to the device,
network, detection, suppression, masks and tracking count; decoding, resizing, enlarging the masks to the video's size,
drawing and writing don't. Each video runs through all networks before the next one does, so that whatever else the
machine does meets them alike.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, cycle, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from stmask.errors import ConfigError
from stmask.experiments.speed import Conditions, Speed
from stmask.inference.segmenter import VideoSegmenter

Image = npt.NDArray[np.uint8]
Clip = tuple[Image, ...]  # successive frames (h, w, 3) RGB of one video

_CLIP_FRAMES = 25  # longer videos are cut, so that networks take turns often
_WARM_UP_FRAMES = 8
_YARDSTICK_INPUT = (1, 3, 384, 640)
_YARDSTICK_REPEATS = 4  # for each clip


def take_clips(videos: Iterable[Iterable[Image]], *, frames: int, source: str) -> list[Clip]:
    """Clips with so many frames to time in all; videos that hold fewer come up again.

    Args:
        videos: frames of each in order; no more than needed are read.
        frames: to time, the first of each clip not counted.
        source: of the videos, for the error.

    Raises:
        ConfigError: no video with two frames.
    """
    clips: list[Clip] = []
    left = frames
    for clip in chain(_cut(videos), clips):  # behind the last video: the clips again, a list that grows as it is read
        clips.append(clip[: left + 1])
        left -= len(clips[-1]) - 1
        if left <= 0:
            return clips
    raise ConfigError(f"{source} holds no video of two frames or more to time: give --frames-from VIDEO_OR_FOLDER")


def _cut(videos: Iterable[Iterable[Image]]) -> Iterator[Clip]:
    for video in videos:
        frames = iter(video)
        while len(clip := tuple(islice(frames, _CLIP_FRAMES))) > 1:
            yield clip


def measure(
    networks: Sequence[VideoSegmenter],
    clips: Sequence[Clip],
    *,
    precision: str,
    on_clip: Callable[[], None] = lambda: None,
) -> list[Speed]:
    """The speed of each network on the same frames, the networks taking turns after every clip.

    Args:
        networks: all on one device; their trackers are reset.
        clips: as `take_clips` gives them.
        precision: that the segmenters were made with, one of `PRECISIONS`; for the record.
        on_clip: called after each clip, for progress bars.
    """
    device = networks[0].device
    runs = [_Timed(network) for network in networks]
    for run in runs:
        run.warm_up(clips[0])
    for number, clip in enumerate(clips):
        first = number % len(runs)
        for run in (*runs[first:], *runs[:first]):
            run.add(clip)
        on_clip()
    conditions = Conditions(device_name(device), precision, torch.get_num_threads(), torch.__version__)
    return [run.speed(conditions) for run in runs]


class _Timed:
    """A network and the seconds that its frames took."""

    def __init__(self, segmenter: VideoSegmenter) -> None:
        self._segmenter = segmenter
        self._seconds: list[float] = []
        self._objects = 0
        self._stages = dict.fromkeys(segmenter.timings, 0.0)

    def warm_up(self, clip: Clip) -> None:
        self._segmenter.reset()
        for frame in islice(cycle(clip), _WARM_UP_FRAMES):
            self._segmenter.step(self._segmenter.preprocessor.resize(frame))

    def add(self, clip: Clip) -> None:
        segmenter = self._segmenter
        segmenter.reset()
        first, *others = (segmenter.preprocessor.resize(frame) for frame in clip)
        segmenter.step(first)
        before = dict(segmenter.timings)
        for frame in others:
            _synchronise(segmenter.device)
            start = time.perf_counter()
            tracked = segmenter.step(frame)
            _synchronise(segmenter.device)
            self._seconds.append(time.perf_counter() - start)
            self._objects += len(tracked)
        for stage, spent in segmenter.timings.items():
            self._stages[stage] += spent - before[stage]

    def speed(self, conditions: Conditions) -> Speed:
        low, median, high = (float(v) for v in np.percentile(1000 * np.array(self._seconds), (10, 50, 90)))
        frames = len(self._seconds)
        return Speed(
            milliseconds=median,
            p10=low,
            p90=high,
            frames=frames,
            objects=self._objects / frames,
            stages={stage: 1000 * spent / frames for stage, spent in self._stages.items()},
            height=self._segmenter.preprocessor.height,
            width=self._segmenter.preprocessor.width,
            conditions=conditions,
        )


class Yardstick:
    """A bare ResNet-50 of torchvision in float32 on a 384 x 640 image: what a time is worth on this machine, just now.

    `add` is called between the clips of a measurement; `milliseconds` is the median of all its forward passes.
    """

    def __init__(self, device: torch.device) -> None:
        from torchvision.models import resnet50

        self._device = device
        self._network = resnet50(weights=None).to(device).eval()
        self._input = torch.zeros(_YARDSTICK_INPUT, device=device)
        self._seconds: list[float] = []
        self._time()  # warms up

    def add(self) -> None:
        """Times some forward passes."""
        self._seconds += [self._time() for _ in range(_YARDSTICK_REPEATS)]

    @property
    def milliseconds(self) -> float:
        return 1000 * float(np.median(self._seconds))

    @torch.inference_mode()
    def _time(self) -> float:
        _synchronise(self._device)
        start = time.perf_counter()
        self._network(self._input)
        _synchronise(self._device)
        return time.perf_counter() - start


def device_name(device: torch.device) -> str:
    """As its maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
