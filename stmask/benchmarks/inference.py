"""Frames through a network and its tracker, one at a time.

Timed is `VideoSegmenter.step` and the masks of what it reports: from an RGB frame in memory at the network's input size
to tracked instances with masks at the video's own size, whichever way a network has of saying a mask. So normalising,
the copy to the device, network, detection, suppression, tracking and masks count; decoding, resizing the frame, drawing
and writing don't. Each turn goes on with the video where the one before stopped; a clip's first frame, which has no
frame before it to follow objects from, is not timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, islice, pairwise
from typing import Any, NamedTuple

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
from stmask.structures import TrackedFrame

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
    "masks": "of the reported instances, at the video's size",
}


class Frames(NamedTuple):
    """A video at the network's input size.

    Attributes:
        size: its own (height, width).
        images: its frames.
    """

    size: tuple[int, int]
    images: Sequence[Image]


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
        masks: time up to the masks at the video's size; False: up to the tracked instances.
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
        masks: bool = True,
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
        self._videos = [Frames(video[0].shape[:2], [resize(frame) for frame in video]) for video in found]
        self._run = _One(self._segmenter, masks=masks) if videos == 1 else _Many(self._segmenter, videos, masks=masks)

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
                    frame, size, first = next(frames)
                    if first:
                        run.reset()
                        run.step(frame)
                        continue
                    sample, tracked = stages.timed(frame, size)
                    samples.append(sample)
                    objects.append(tracked)
                    tracks += _tracks_kept(segmenter)
                turns.give(samples)
        shown = segmenter.preprocessor
        details: dict[str, float] = {"videos": run.videos} if run.videos > 1 else {}
        details |= {"objects": statistics.fmean(objects), "height": shown.height, "width": shown.width}
        if tracks:
            details |= {"tracks kept, fewest": min(tracks), "tracks kept, most": max(tracks)}
        card = segmenter.model.card
        return Outcome(work_of(segmenter, self._videos[0].images), details, getattr(card, "origin", ""))


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


def _followed(videos: Sequence[Frames]) -> Iterator[tuple[Image, tuple[int, int], bool]]:
    """The frames of one video after the other, over and over, its size, and whether each is the first of its clip."""
    for size, images in cycle(videos):
        yield from ((image, size, index % _CLIP_FRAMES == 0) for index, image in enumerate(images))


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

    def __init__(self, segmenter: VideoSegmenter, *, masks: bool) -> None:
        self.segmenter, self._masks = segmenter, masks

    def reset(self) -> None:
        self.segmenter.reset()

    def step(self, frame: Image) -> list[TrackedFrame]:
        """What is tracked in the next frame, of each video."""
        return [self.segmenter.step(frame)]

    def masks(self, tracked: Sequence[TrackedFrame], size: tuple[int, int]) -> None:
        """Makes their masks at the video's size: on a GPU there, on a CPU by the quicker way that the commands take."""
        for one in tracked if self._masks else ():
            if one.track_ids.is_cuda:
                one.masks_at(size)
            else:
                one.cropped_masks_at(size)


class _Many(_One):
    """A segmenter and several videos with the same frames."""

    def __init__(self, segmenter: VideoSegmenter, videos: int, *, masks: bool) -> None:
        from stmask.inference import SideBySide

        super().__init__(segmenter, masks=masks)
        self.videos, self._beside = videos, SideBySide(segmenter, videos=videos)

    def reset(self) -> None:
        for video in range(self.videos):
            self._beside.reset(video)

    def step(self, frame: Image) -> list[TrackedFrame]:
        return [one for one in self._beside.step([frame] * self.videos) if one is not None]


def _warm_up(run: _One, video: Frames) -> float:
    """Runs a few frames; seconds that the last one took."""
    run.reset()
    clock, begun, seconds = Clock(run.segmenter.device), time.perf_counter(), 0.0
    for index, frame in enumerate(islice(cycle(video.images), _WARM_UP_FRAMES)):
        start = clock.now()
        run.masks(run.step(frame), video.size)
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

    def timed(self, frame: Image, size: tuple[int, int]) -> tuple[Sample, float]:
        """One frame of a video of this size: its times, and how many objects were tracked."""
        self._marks, self._parts = {}, []
        clock, timings = self._clock, self._segmenter.timings
        before = dict(timings)
        start = clock.now()
        self._mark("start")
        found = self._run.step(frame)
        self._mark("tracked")
        self._run.masks(found, size)
        self._mark("end")
        whole, each = 1000 * (clock.now() - start) / self._run.videos, 1000 / self._run.videos
        tracked = statistics.fmean(map(len, found))
        if not {"forward", "found", "tracker"} <= set(self._marks):  # not by calls that can be seen
            times = {name: each * (now - before[name]) for name, now in timings.items()}
            times["masks"] = clock.milliseconds(self._marks["tracked"], self._marks["end"]) / self._run.videos
            return Sample(whole, times), tracked
        order = [self._marks[name] for name in ("start", "forward", "found", "tracker", "tracked", "end")]
        parts = (clock.milliseconds(*marks) for marks in pairwise(order))
        times = dict(zip(("preprocessing", "network", "detection", "tracking", "masks"), parts))
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
