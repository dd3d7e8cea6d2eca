"""Runs a segmenter over a whole video: a video with the instances drawn on it, and results in YouTube-VIS format."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stmask import viz
from stmask.errors import OutputError
from stmask.evaluation import write_results
from stmask.files import atomic_path, require_writable
from stmask.inference.segmenter import VideoSegmenter
from stmask.inference.source import FrameSource, TimedFrame
from stmask.inference.video import VideoWriter, is_ours, require_video_suffix
from stmask.overlap import Stage, read_ahead
from stmask.structures import CroppedMasks, TrackedFrame
from stmask.tasks.results import VideoResultBuilder

Image = npt.NDArray[np.uint8]
_VIDEO_ID = 1
_HEAD_BYTES = 4096
_AHEAD = 2  # frames that are decoded and wait for the network
_RESULTS = re.compile(rb'\[\]\s*\Z|\[\{"video_id": \d+, "category_id": \d+, "score": [^"]*, "segmentations": \[')


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawStyle:
    """How instances are drawn.

    Attributes:
        min_score: instances below it are left out of the picture (not of the results).
        boxes: draw them.
        labels: write track id, class and score.
        opacity: of the masks, 0 to 1.
        zoom: enlarges the frames by a whole number first; small ones need it to be read.
    """

    min_score: float = 0.3
    boxes: bool = True
    labels: bool = True
    opacity: float = 0.5
    zoom: int = 1

    def __post_init__(self) -> None:
        if self.zoom < 1 or not 0 <= self.opacity <= 1:
            raise ValueError(f"zoom must be at least 1 and opacity within 0 to 1, got {self.zoom} and {self.opacity}")


@dataclass(frozen=True, slots=True)
class PredictSummary:
    """The time that a prediction took.

    Attributes:
        frames: how many.
        tracks: different objects that were reported.
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
    output: str | os.PathLike[str] | None,
    results: str | os.PathLike[str] | None,
    fps: float | None = None,
    style: DrawStyle | None = None,
    category_ids: Sequence[int] | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> PredictSummary:
    """Segments a video frame by frame; only a few frames and run-length encoded masks are in memory at a time.

    Frames are decoded ahead in a thread; masks and drawing have another, encoding a third.

    Args:
        segmenter: reset before the first frame.
        source: the frames.
        output: video file to draw on, or None for none.
        results: JSON file for the list of tracks, or None for none.
        fps: of the output; default the source's.
        style: default `DrawStyle()`.
        category_ids: the dataset's ids of labels 1..K in the results; default the labels themselves.
        on_frame: called after each frame, to show progress.

    Raises:
        DataError: a frame that cannot be read. Neither file is written then.
        OutputError: as `check_places`, or a file that cannot be written.
        ValueError: not as many `category_ids` as the segmenter knows classes.
    """
    check_places(source.path, output, results)
    names = segmenter.class_names
    if category_ids is not None and names and len(category_ids) != len(names):
        raise ValueError(f"{len(names)} classes need as many category_ids, got {len(category_ids)}")
    style = style or DrawStyle()
    watch = _Stopwatch(segmenter, drawing=output is not None)
    segmenter.reset()
    builder = VideoResultBuilder(_VIDEO_ID)
    frames = 0
    with ExitStack() as files:
        # Entered first, so that an unwritable folder is found before the work; written last.
        results_file = None if results is None else files.enter_context(atomic_path(results))
        writer: VideoWriter | None = None
        decoded = read_ahead(watch.each("decoding", source.frames()), most=_AHEAD, name="decoding")
        with closing(decoded), Stage("encoding") as encoding, Stage("masks") as masking:

            def encode(writer: VideoWriter, drawn: Image) -> None:
                with watch("encoding"):
                    writer.write(drawn)

            def finish(frame: Image, tracked: TrackedFrame, writer: VideoWriter | None) -> None:
                with watch("masks"):
                    masks = tracked.cropped_masks_at((frame.shape[0], frame.shape[1]))
                    if results_file is not None:
                        builder.add(tracked, masks)
                if writer is not None:
                    with watch("drawing"):
                        drawn = draw_tracked(frame, tracked, class_names=names, masks=masks, style=style)
                    encoding.do(partial(encode, writer, drawn))

            for timed in decoded:
                frame = timed.image
                if output is not None and writer is None:
                    shape = (frame.shape[0] * style.zoom, frame.shape[1] * style.zoom)
                    new = VideoWriter(output, fps=fps or source.fps, size=shape, pixel_aspect=source.pixel_aspect)
                    writer = files.enter_context(new)
                masking.do(partial(finish, frame, segmenter.step(frame), writer))
                frames += 1
                on_frame()
        result = builder.build(frames)
        if results_file is not None:
            classes = max((track.label for track in result.tracks), default=0)  # a model need not know their names
            write_results(results_file, [result], category_ids or range(1, classes + 1))
        with watch("encoding"):
            files.close()
    return PredictSummary(frames, len(result.tracks), watch.seconds(), watch.wall_seconds())


def draw_tracked(
    frame: Image,
    tracked: TrackedFrame,
    *,
    class_names: Sequence[str] = (),
    masks: CroppedMasks | None = None,
    style: DrawStyle | None = None,
) -> Image:
    """A frame (h, w, 3) with its instances drawn on it, the best score on top, enlarged as `style` says.

    `masks`, of all instances at the size of the frame, saves computing them again where there is no zoom.
    """
    style = style or DrawStyle()
    height, width = frame.shape[0] * style.zoom, frame.shape[1] * style.zoom
    scores = tracked.instances.scores
    order = scores.argsort(descending=True)
    shown = order[scores[order] >= style.min_score]
    part = tracked[shown]
    known = None if masks is None or style.zoom > 1 else masks[shown.tolist()]
    shapes = part.cropped_masks_at((height, width)) if known is None else known
    if style.zoom > 1:
        frame = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    return viz.draw(
        frame,
        shapes.parts,
        track_ids=part.track_ids.tolist(),
        corners=shapes.corners,
        boxes=_whole_pixels(part.boxes_at((height, width))).tolist() if style.boxes else None,
        labels=part.instances.labels.tolist(),
        scores=part.instances.scores.tolist(),
        class_names=class_names,
        supplemented=part.supplemented.tolist(),
        captions=style.labels,
        opacity=style.opacity,
    )


def _whole_pixels(boxes: Tensor) -> Tensor:
    """The smallest boxes (N, 4) of whole pixels around others: row y1 is the first, y2 - 1 the last that they touch."""
    return torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], dim=1).long()


def check_places(
    source: str | os.PathLike[str] | None, output: str | os.PathLike[str] | None, results: str | os.PathLike[str] | None
) -> None:
    """Checks where a prediction would be written, before any work: it only overwrites files of earlier predictions.

    Raises:
        OutputError: an output that is not named as a video, one place for two files, one where no file can be put, a
            link, or one that holds a file which no prediction wrote.
    """
    if output is not None:
        require_video_suffix(output)
    for written in (Path(path) for path in (output, results) if path is not None):
        require_writable(written)
    places = [Path(path) for path in (source, output, results) if path is not None]
    for i, place in enumerate(places):
        if any(_same(place, other) for other in places[:i]):
            raise OutputError(f"{place} is named twice: source, output and results must be different files")
    for link in (Path(path) for path in (output, results) if path is not None and Path(path).is_symlink()):
        raise OutputError(f"{link} is a link, which a file would take the place of: give the place that it leads to")
    if output is not None and _is_filled(Path(output)) and not is_ours(output):
        raise OutputError(f"{output} exists already and is not a video of stmask's: give another output, or remove it")
    if results is not None and _is_filled(Path(results)) and not _holds_results(Path(results)):
        raise OutputError(
            f"{results} exists already and is not a list of predicted tracks: give results=FILE, "
            "results=null for none, or remove it"
        )


def _same(a: Path, b: Path) -> bool:
    """Also if links or a case-insensitive file system give a file several names."""
    try:
        return a.resolve() == b.resolve() or a.samefile(b)
    except (OSError, RuntimeError):  # missing, or a cycle of links
        return False


def _is_filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _holds_results(path: Path) -> bool:
    """Whether a file begins as `write_results` begins one."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return _RESULTS.match(head) is not None


class _Stopwatch:
    """Seconds by stage: measured here, and by the segmenter itself."""

    def __init__(self, segmenter: VideoSegmenter, *, drawing: bool) -> None:
        self._segmenter = segmenter
        self._before = dict(segmenter.timings)
        self._own = dict.fromkeys(("decoding", "masks", *(("drawing", "encoding") if drawing else ())), 0.0)
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
