"""Everything that is wrong with a dataset, found in one go instead of one error at a time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stmask.data.index import Index
from stmask.data.jsonstream import stream_object
from stmask.data.layouts import find_frames
from stmask.data.reader import FAULTS_OF_VIDEOS, LISTS, AnnotationError, AnnotationReader
from stmask.data.segmentation import Encoding, measure
from stmask.data.ytvis import VideoDataset
from stmask.errors import DataError

NOTHING_TO_LEARN = "nothing to learn from"
BOX_TOLERANCE = 2.0  # pixels by which an annotated box may differ from its mask on any side


@dataclass(slots=True)
class Problem:
    """One kind of mistake: how often, and its first occurrence in full; `fatal` ones stop a training."""

    kind: str
    fatal: bool
    first: str
    count: int = 0


@dataclass(slots=True)
class Report:
    """What a check found in one annotation file and its frames."""

    annotations: Path
    frames: Path | None
    videos: int = 0
    frame_count: int = 0
    tracks: int = 0
    masks: int = 0
    annotated_frames: int = 0
    labelled: bool = False
    frames_read: bool = False
    problems: dict[str, Problem] = field(default_factory=dict)

    def add(self, kind: str, message: str, *, fatal: bool, count: int = 1) -> None:
        self.problems.setdefault(kind, Problem(kind, fatal, message)).count += count

    @property
    def trainable(self) -> bool:
        """Whether a training on this split would run through."""
        return self.annotated_frames > 0 and not any(problem.fatal for problem in self.problems.values())

    @property
    def usable(self) -> bool:
        """Whether it is trainable or, where there are no annotations, free of mistakes."""
        return self.trainable or not (self.labelled or any(problem.fatal for problem in self.problems.values()))

    def lines(self) -> Iterator[str]:
        """The report as text."""
        yield f"{self.annotations}"
        yield f"  frames in {self.frames if self.frames is not None else '(not found)'}"
        yield (
            f"  {self.videos} videos, {self.frame_count} frames, {self.tracks} tracks, {self.masks} masks, "
            f"{self.annotated_frames} frames with objects"
        )
        for problem in sorted(self.problems.values(), key=lambda p: not p.fatal):
            weight = "error" if problem.fatal else "warning"
            yield f"  {weight}: {problem.kind}: {problem.count}, first: {problem.first}"
        read = "all frames were read" if self.frames_read else "the frames were not opened (--frames does)"
        if self.trainable:
            yield f"  can be trained on; {read}"
        elif self.usable:
            yield f"  unlabelled: can be predicted on, not trained on; {read}"
        else:
            yield "  cannot be trained on"


def check_split(
    annotations: Path,
    *,
    root: Path,
    split: str,
    frames: Path | None = None,
    look_for_frames: bool = True,
    read_frames: bool = False,
    threads: int = 4,
) -> Report:
    """Checks an annotation file and the frames it names.

    Args:
        root, split: where the folder of frames is looked for unless `frames` gives it.
        look_for_frames: False checks the annotations alone.
        read_frames: decode every frame instead of only looking whether it is there.
        threads: for reading frames.
    """
    report = Report(annotations, frames)
    reader, boxes = _read(report)
    if reader is None:
        return report
    index = _resolve(report, reader)
    _check_masks(report, index, boxes)
    report.annotated_frames = len(index.annotated_frames)
    report.labelled = reader.labelled
    dataset = VideoDataset(annotations, frames or root, contents=(reader.categories, index))
    try:
        if look_for_frames:
            report.frames = frames or find_frames(root, split, dataset.some_file_names())
            dataset.frames_path = report.frames
            _check_frames(report, dataset, read=read_frames, threads=threads)
    except DataError as error:
        report.add("no folder of frames", str(error), fatal=True)
    if reader.labelled and not report.annotated_frames:
        report.add(NOTHING_TO_LEARN, "no annotation has a mask in any frame", fatal=True)
    return report


def _read(report: Report) -> tuple[AnnotationReader | None, array[float]]:
    """Reads all entries that can be read, and the boxes (x, y, w, h) of each segmentation, NaN where there is none."""
    reader, boxes = AnnotationReader(report.annotations), array("d")
    try:
        for key, position, value in stream_object(report.annotations, LISTS):
            try:
                reader.take(key, position, value)
            except AnnotationError as error:
                report.add(error.kind, str(error), fatal=True)
                continue
            if key == "annotations" and position is not None:
                boxes.extend(_boxes_of(report, value))
    except DataError as error:
        report.add("the file cannot be read", str(error), fatal=True)
        return None, boxes
    return reader, boxes


def _boxes_of(report: Report, annotation: dict[str, Any]) -> list[float]:
    if "segmentations" not in annotation:  # of an image
        annotation = {"id": annotation["id"], "segmentations": [None], "bboxes": [annotation.get("bbox")]}
    count = len(annotation["segmentations"])
    for key in ("bboxes", "areas"):
        values = annotation.get(key)
        if values is not None and (not isinstance(values, list) or len(values) != count):
            message = f"annotation {annotation['id']}: {key!r} does not have {count} entries"
            report.add("boxes or areas of the wrong length", message, fatal=False)
            return [math.nan] * (4 * count)
    flat: list[float] = []
    for box in annotation.get("bboxes") or [None] * count:
        flat += [float(n) for n in box] if isinstance(box, list) and len(box) == 4 else [math.nan] * 4
    return flat


def _resolve(report: Report, reader: AnnotationReader) -> Index:
    """Reports what refers to nothing, and makes an index of what is left."""
    usable = np.ones(len(reader.rows), dtype=np.bool_)
    try:
        for fault in reader.faults():
            if not fault.wrong.any():
                continue
            message = f"{report.annotations}: {fault.describe(int(fault.wrong.argmax()))}"
            report.add(fault.kind, message, fatal=True, count=int(fault.wrong.sum()))
            if fault.kind not in FAULTS_OF_VIDEOS:
                usable &= ~fault.wrong
    except AnnotationError as error:
        report.add(error.kind, str(error), fatal=True)
        usable[:] = False
    index = reader.index(usable)
    report.videos, report.frame_count = len(index.video_ids), int(index.frame_starts[-1])
    report.tracks = int(usable.sum())
    return index


def _check_masks(report: Report, index: Index, boxes: array[float]) -> None:
    """Reads every mask: do its run lengths fill the frame, does its box agree, has the track any pixel at all?"""
    table = np.frombuffer(boxes, dtype=np.float64).reshape(-1, 4) if len(boxes) else np.zeros((0, 4))
    for row, number in enumerate(index.annotation_ids):
        video = int(np.searchsorted(index.annotation_starts, row, side="right")) - 1
        height, width = (int(n) for n in index.video_sizes[video])
        first, seen = int(index.segment_starts[row]), 0
        for position in range(int(index.frame_starts[video + 1] - index.frame_starts[video])):
            segment = first + position
            if index.encodings[segment] == Encoding.ABSENT:
                continue
            report.masks += 1
            where = f"{report.annotations}: annotation {number}: segmentations[{position}]"
            data = index.data[index.data_starts[segment] : index.data_starts[segment + 1]].tobytes()
            try:
                area, box = measure(int(index.encodings[segment]), data, height, width)
            except ValueError as error:
                report.add("a mask that does not fit its frame", f"{where}: {error}", fatal=True)
                continue
            seen += area
            if area == 0:
                report.add("a mask without a pixel", where, fatal=False)
            elif (error_px := _box_error(table[segment], box)) > BOX_TOLERANCE:
                said = f"{table[segment].tolist()}, the mask says {list(box)}"
                message = f"{where} is off by {error_px:.0f} pixels: {said}"
                report.add("a box that disagrees with its mask", message, fatal=False)
        if seen == 0:
            report.add("a track without a mask", f"{report.annotations}: annotation {number}", fatal=False)


def _box_error(stated: Any, true: tuple[int, int, int, int]) -> float:
    """The largest distance of a side of one box (x, y, w, h) from that of the other; 0 if no box is stated."""
    if np.isnan(stated).any():
        return 0.0
    x, y, w, h = (float(n) for n in stated)
    sides = (x, y, x + w, y + h)
    expected = (true[0], true[1], true[0] + true[2], true[1] + true[3])
    return max(abs(a - b) for a, b in zip(sides, expected, strict=True))


def _check_frames(report: Report, dataset: VideoDataset, *, read: bool, threads: int) -> None:
    """Looks for every frame, or reads it and compares its size with what the annotations say."""
    report.frames_read = read

    def look(frame: int) -> tuple[str, str] | None:
        video, position = dataset.locate(frame)
        path = dataset.frame_path(video, position)
        if not path.is_file():
            return "a missing frame", str(path)
        try:
            if read:
                dataset.read_frame(video, position)
        except DataError as error:
            return "a frame that cannot be used", str(error)
        return None

    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(look, range(report.frame_count)):
            if found is not None:
                report.add(*found, fatal=True)
