"""Runs a segmenter over a whole video and writes what it finds, in several formats at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stmask.errors import OutputError
from stmask.inference.drawing import DrawStyle, draw_tracked
from stmask.inference.segmenter import VideoSegmenter
from stmask.inference.selection import Selection
from stmask.inference.sinks import FORMATS, SegmentedFrame, Setting, Sink, check_places, placed
from stmask.inference.source import FrameSource, TimedFrame
from stmask.overlap import Stage, read_ahead
from stmask.structures import TrackedFrame
from stmask.tasks.results import class_vote_of

__all__ = ["DrawStyle", "PredictSummary", "Selection", "check_places", "draw_tracked", "predict_video"]

_AHEAD = 2  # frames that are decoded and wait for the network


@dataclass(frozen=True, slots=True)
class PredictSummary:
    """The time that a prediction took.

    Attributes:
        frames: how many.
        tracks: different objects that were written.
        seconds: spent in each stage, in the order of the work. Stages overlap, so their sum may be more than all.
        wall_seconds: from the first frame to the finished files.
    """

    frames: int
    tracks: int
    seconds: dict[str, float]
    wall_seconds: float

    @property
    def frames_per_second(self) -> float:
        """Of the whole, decoding and encoding included."""
        return self.frames / max(self.wall_seconds, 1e-9)


def predict_video(
    segmenter: VideoSegmenter,
    source: FrameSource,
    *,
    outputs: Mapping[str, str | os.PathLike[str]],
    select: Selection | None = None,
    fps: float | None = None,
    style: DrawStyle | None = None,
    category_ids: Sequence[int] = (),
    on_frame: Callable[[], None] = lambda: None,
) -> PredictSummary:
    """Segments a video frame by frame; only a few frames and run-length encoded masks are in memory at a time.

    Frames are decoded ahead in a thread; masks, drawing and writing have another, encoding a third.

    Args:
        segmenter: reset before the first frame.
        source: the frames.
        outputs: where to write each format, by its name in `FORMATS`.
        select: which instances are drawn and written; default `Selection()`.
        fps: of the video that is written, which has no sound then; default the source's times.
        style: of the drawing; default `DrawStyle()`.
        category_ids: the dataset's ids of labels 1..K, for files; default the labels themselves.
        on_frame: called after each frame, to show progress.

    Raises:
        DataError: a frame that cannot be read. Nothing is written then.
        OutputError: as `check_places`, or a file that cannot be written; the message names what there is until then.
        ValueError: not as many `category_ids` as the segmenter knows classes.
    """
    places = {name: Path(place) for name, place in outputs.items()}
    check_places([source.path] if source.path is not None else [], [places])
    names = segmenter.class_names
    if category_ids and names and len(category_ids) != len(names):
        raise ValueError(f"{len(names)} classes need as many category_ids, got {len(category_ids)}")
    select = select or Selection()
    watch = _Stopwatch(segmenter, drawing="video" in places)
    setting = Setting.of(
        source,
        fps=fps,
        class_names=names,
        class_vote=class_vote_of(segmenter.model.card),
        style=style or DrawStyle(),
        clock=watch,
    )
    segmenter.reset()
    frames, tracks, kept = 0, set[int](), list[Path]()
    try:
        with ExitStack() as files:
            # Entered first, so that an unwritable folder is found before the work.
            sinks = [files.enter_context(_opened(name, place, setting, kept)) for name, place in places.items()]
            decoded = read_ahead(watch.each("decoding", source.frames()), most=_AHEAD, name="decoding")
            with closing(decoded), Stage("masks") as masking:

                def finish(index: int, read: TimedFrame, tracked: TrackedFrame) -> None:
                    with watch("masks"):
                        tracked, masks = select(tracked).shown_at((read.image.shape[0], read.image.shape[1]))
                        frame = SegmentedFrame(index, read.time, read.image, tracked, masks, names, category_ids)
                        tracks.update(tracked.track_ids.tolist())
                    for name, sink in zip(places, sinks, strict=True):
                        with nullcontext() if name == "video" else watch("writing"):  # it has a clock of its own
                            sink.write(frame)

                for read in decoded:
                    masking.do(partial(finish, frames, read, segmenter.step(read.image)))
                    frames += 1
                    on_frame()
    except OutputError as error:
        if kept:
            listed = ", ".join(map(str, kept))
            raise OutputError(f"{error}; the frames until then are in {listed}") from error
        raise
    return PredictSummary(frames, len(tracks), watch.seconds(), watch.wall_seconds())


@contextmanager
def _opened(name: str, place: Path, setting: Setting, kept: list[Path]) -> Iterator[Sink]:
    form = FORMATS[name]
    with placed(place, lambda path: form.open(path, setting), folder=form.folder, kept=kept) as sink:
        yield sink


class _Stopwatch:
    """Seconds by stage: measured here, and by the segmenter itself."""

    def __init__(self, segmenter: VideoSegmenter, *, drawing: bool) -> None:
        self._segmenter = segmenter
        self._before = dict(segmenter.timings)
        stages = ("decoding", "masks", "writing", *(("drawing", "encoding") if drawing else ()))
        self._own = dict.fromkeys(stages, 0.0)
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if stage in self._own:
            self._own[stage] += time.perf_counter() - start

    def each(self, stage: str, items: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        """The items, timing how long each takes to come."""
        iterator = iter(items)
        while True:
            with self(stage):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def seconds(self) -> dict[str, float]:
        """By stage, in the order of the work."""
        network = {stage: spent - self._before[stage] for stage, spent in self._segmenter.timings.items()}
        return {"decoding": self._own["decoding"], **network, **self._own}

    def wall_seconds(self) -> float:
        return time.perf_counter() - self._start
