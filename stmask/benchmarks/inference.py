"""Frames through a network and its tracker, one at a time.

Timed is `VideoSegmenter.step`: from an RGB frame in memory at the network's input size to the tracked instances of that
frame with their masks at the prototypes' resolution. So normalising, the copy to the device, network, detection,
suppression, masks and tracking count; decoding, resizing, enlarging the masks to the video's size, drawing and writing
don't. Each turn goes on with the video where the one before stopped; a clip's first frame, which has no frame before
it to follow objects from, is not timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stmask.benchmarks import flops
from stmask.benchmarks.gauge import Clock, TorchGauge
from stmask.benchmarks.worker import Outcome, Sample, Turns, Work
from stmask.errors import ConfigError, DataError
from stmask.inference.segmenter import VideoSegmenter
from stmask.inference.video import VideoReader
from stmask.loading import load_segmenter, pick_device

Image = npt.NDArray[np.uint8]
PRECISIONS = ("float32", "bfloat16", "float16")  # of the network; the first one: as the weights are
_CLIP_FRAMES = 25  # longer videos are cut
_WARM_UP_FRAMES, _WARM_UP_SECONDS = 8, 4.0
_FRAMES_IN_MEMORY = 100
_WAY_OUT = "give --frames-from VIDEO_OR_FOLDER"
STAGES = {
    "preprocessing": "normalising, padding, the copy to the device",
    "network": "the network's forward pass; by a CUDA graph all of network, detection and tracking",
    "detection": "from the forward pass to the tracker: candidates, suppression, masks, branches only there",
    "tracking": "the tracker's step: association, what is reported, without the network's parts that it calls",
    "network in tracking": "parts of the network that the tracker calls: temporal fusion on the tracks' regions",
}


class Contender:
    """A network from a checkpoint.

    Args:
        checkpoint: file of weights.
        device: auto, cpu, cuda or cuda:N.
        precision: of the network, one of `PRECISIONS`.
        frames_from: a video or a folder of frames; None for the videos that `validated_by`, a checkpoint, was validated
            with.
        frames: to time; no more are read.
        videos: that go through the network side by side, all of them the same; a sample is the time of one's frame.
        yardstick: also time a bare ResNet-50.
        trust: the user's own classes that the checkpoint may name.
    """

    unit, stages = "frame", STAGES

    def __init__(
        self,
        *,
        checkpoint: str,
        device: str,
        precision: str,
        frames_from: str | None,
        validated_by: str,
        frames: int,
        videos: int = 1,
        yardstick: bool = False,
        trust: Sequence[str] = (),
    ) -> None:
        if videos < 1:
            raise ConfigError(f"--videos must be at least 1, got {videos}")
        self._segmenter = load(checkpoint, device=device, precision=precision, trust=trust)
        self._precision, self._yardstick = precision, yardstick
        count = min(frames + 1, _FRAMES_IN_MEMORY)
        if frames_from is None:
            found = _validation_videos(validated_by, frames=count, trust=trust)
        else:
            found = take_videos([VideoReader(frames_from)], frames=count, source=frames_from)
        resize = self._segmenter.preprocessor.resize
        self._videos = [[resize(frame) for frame in video] for video in found]
        self._run = _One(self._segmenter) if videos == 1 else _Many(self._segmenter, videos)

    def serve(self, turns: Turns) -> Outcome:
        """Times `step` of one frame after the other."""
        segmenter, run, frames = self._segmenter, self._run, _followed(self._videos)
        seconds = _warm_up(run, self._videos[0])
        gauge = TorchGauge(segmenter.device, precision=self._precision, yardstick=self._yardstick)
        objects: list[float] = []
        tracks: list[int] = []
        turns.ready(gauge, seconds=seconds)
        with _Stages(run) as stages:
            for count in turns:
                samples: list[Sample] = []
                while len(samples) < count:
                    frame, first = next(frames)
                    if first:
                        run.reset()
                        run.step(frame)
                        continue
                    sample, tracked = stages.timed(frame)
                    samples.append(sample)
                    objects.append(tracked)
                    tracks += _tracks_kept(segmenter)
                turns.give(samples)
        size = segmenter.preprocessor
        details: dict[str, float] = {"videos": run.videos} if run.videos > 1 else {}
        details |= {"objects": statistics.fmean(objects), "height": size.height, "width": size.width}
        if tracks:
            details |= {"tracks kept, fewest": min(tracks), "tracks kept, most": max(tracks)}
        card = segmenter.model.card
        return Outcome(work_of(segmenter, self._videos[0]), details, getattr(card, "origin", ""))


def load(checkpoint: str, *, device: str, precision: str, trust: Sequence[str] = ()) -> VideoSegmenter:
    """The segmenter of a checkpoint.

    Raises:
        CheckpointError: the weights are missing or broken.
        ConfigError: no such device or precision.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    autocast = None if precision == PRECISIONS[0] else getattr(torch, precision)
    allowed: dict[str, Any] = {"trust": trust} if trust else {}
    return load_segmenter(checkpoint, device=pick_device(device), autocast=autocast, **allowed)


def work_of(segmenter: VideoSegmenter, video: Sequence[Image]) -> Work:
    """What a frame costs: the FLOPs of the third one, once there are tracks; its bytes and those of the weights.

    None for what is not PyTorch's own, such as an exported network.
    """
    many = getattr(segmenter, "step_many", None)  # operation by operation, where `step` replays a CUDA graph
    tracker = None if many is None else segmenter.model.tracker()

    def step(frame: Image) -> None:
        segmenter.step(frame) if many is None else many([frame], [tracker])

    segmenter.reset()
    *before, last = islice(cycle(video), 3)
    for frame in before:
        step(frame)
    counted = flops.count(lambda: step(last))
    weights = sum(tensor.nbytes for tensor in chain(segmenter.model.parameters(), segmenter.model.buffers()))
    return Work(counted, float(weights + last.nbytes)) if weights else Work(None, None)


def take_videos(videos: Iterable[Iterable[Image]], *, frames: int, source: str) -> list[list[Image]]:
    """The first videos with two frames or more, as many as have so many frames.

    Args:
        videos: frames of each in order; no more than needed are read.
        frames: of all videos together, at least two.
        source: of the videos, for the error.

    Raises:
        ConfigError: no video with two frames.
    """
    taken: list[list[Image]] = []
    left = max(2, frames)
    for video in videos:
        if left < 2:
            break
        if len(found := list(islice(video, left))) > 1:
            taken.append(found)
            left -= len(found)
    if not taken:
        raise ConfigError(f"{source} holds no video of two frames or more to time: {_WAY_OUT}")
    return taken


def _followed(videos: Sequence[Sequence[Image]]) -> Iterator[tuple[Image, bool]]:
    """The frames of one video after the other, over and over, and whether each is the first of its clip."""
    for video in cycle(videos):
        yield from ((frame, index % _CLIP_FRAMES == 0) for index, frame in enumerate(video))


def _validation_videos(checkpoint: str, *, frames: int, trust: Sequence[str]) -> list[list[Image]]:
    """Of the videos that a network was validated with.

    Raises:
        DataError: the data is not there.
        ConfigError: the network doesn't say what it was trained on, or its data are not videos.
    """
    from stmask.data import VideoClips
    from stmask.engine.evaluation_data import evaluation_data
    from stmask.loading import load as load_model

    card = load_model(checkpoint, trust=trust).card
    if not card.data:
        raise ConfigError(f"{checkpoint} does not say what it was validated with: {_WAY_OUT}")
    data = evaluation_data(card, checkpoint, way_out=_WAY_OUT)
    try:
        videos = VideoClips(data.valid_dataset)
        source = str(data.valid_dataset.frames_path)
        return take_videos((videos[i] for i in range(len(videos))), frames=frames, source=source)
    except DataError as error:
        raise DataError(f"the validation videos of {checkpoint} can't be read ({error}): {_WAY_OUT}") from error


class _One:
    """A segmenter and its video."""

    videos = 1

    def __init__(self, segmenter: VideoSegmenter) -> None:
        self.segmenter = segmenter

    def reset(self) -> None:
        self.segmenter.reset()

    def step(self, frame: Image) -> float:
        """How many objects are tracked in the frame."""
        return len(self.segmenter.step(frame))


class _Many(_One):
    """A segmenter and several videos with the same frames."""

    def __init__(self, segmenter: VideoSegmenter, videos: int) -> None:
        from stmask.inference import SideBySide

        super().__init__(segmenter)
        self.videos, self._beside = videos, SideBySide(segmenter, videos=videos)

    def reset(self) -> None:
        for video in range(self.videos):
            self._beside.reset(video)

    def step(self, frame: Image) -> float:
        found = self._beside.step([frame] * self.videos)
        return statistics.fmean(len(one) for one in found if one is not None)


def _warm_up(run: _One, video: Sequence[Image]) -> float:
    """Runs a few frames; seconds that the last one took."""
    run.reset()
    clock, begun, seconds = Clock(run.segmenter.device), time.perf_counter(), 0.0
    for index, frame in enumerate(islice(cycle(video), _WARM_UP_FRAMES)):
        start = clock.now()
        run.step(frame)
        seconds = clock.now() - start
        if index > 0 and time.perf_counter() - begun > _WARM_UP_SECONDS:
            break
    return seconds


def _tracks_kept(segmenter: VideoSegmenter) -> list[int]:
    """How many tracks the tracker remembers, seen or not, where it says so."""
    tracks = getattr(segmenter.tracker, "tracks", None)
    return [] if tracks is None else [len(tracks)]


class _Stages:
    """Times a segmenter's frames by stage: what happens when is seen from hooks on the network and its tracker."""

    def __init__(self, run: _One) -> None:
        self._run, self._segmenter = run, run.segmenter
        self._clock = Clock(run.segmenter.device)
        self._marks: dict[str, Any] = {}
        self._parts: list[tuple[Any, Any]] = []  # of the network, called outside of its forward pass
        self._open: Any = None

    def __enter__(self) -> _Stages:
        model, tracker = self._segmenter.model, self._segmenter.tracker
        self._hooks = [
            model.register_forward_pre_hook(lambda *_: self._mark("forward")),
            model.register_forward_hook(lambda *_: self._mark("found")),
        ]
        for part in model.children():
            self._hooks += [part.register_forward_pre_hook(self._enter), part.register_forward_hook(self._leave)]
        step = tracker.step

        def marked(*arguments: Any, **named: Any) -> Any:
            self._mark("tracker")
            return step(*arguments, **named)

        tracker.step = marked  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        del self._segmenter.tracker.step

    def timed(self, frame: Image) -> tuple[Sample, float]:
        """One frame: its times, and how many objects were tracked."""
        self._marks, self._parts = {}, []
        clock, timings = self._clock, self._segmenter.timings
        before = dict(timings)
        start = clock.now()
        self._mark("start")
        tracked = self._run.step(frame)
        self._mark("end")
        whole, each = 1000 * (clock.now() - start) / self._run.videos, 1000 / self._run.videos
        if not {"forward", "found", "tracker"} <= set(self._marks):  # not by calls that can be seen
            return Sample(whole, {name: each * (now - before[name]) for name, now in timings.items()}), tracked
        order = [self._marks[name] for name in ("start", "forward", "found", "tracker", "end")]
        parts = (clock.milliseconds(*marks) for marks in pairwise(order))
        times = dict(zip(("preprocessing", "network", "detection", "tracking"), parts))
        if self._parts:
            inside = sum(clock.milliseconds(*part) for part in self._parts)
            times |= {"tracking": times["tracking"] - inside, "network in tracking": inside}
        return Sample(whole, times), tracked

    def _mark(self, name: str) -> None:
        self._marks[name] = self._clock.mark()

    def _enter(self, *_: Any) -> None:
        if "tracker" in self._marks:
            self._open = self._clock.mark()

    def _leave(self, *_: Any) -> None:
        if "tracker" in self._marks:
            self._parts.append((self._open, self._clock.mark()))
