"""Formats with one line for each frame or instance: JSON lines, CSV, MOTChallenge, MOTS."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from stmask.errors import OutputError
from stmask.inference.sinks.base import SegmentedFrame
from stmask.structures import CroppedMasks
from stmask.tasks.results import encode_masks

CSV_COLUMNS = (
    *("frame", "time", "track_id", "category_id", "class", "score", "supplemented"),
    *("x1", "y1", "x2", "y2", "height", "width", "counts"),
)
MOTS_MOST_INSTANCES = 1000  # an object's id is 1000 * class + instance
_SCORE_DIGITS = 6

FrameText = Callable[[SegmentedFrame], str]


class Lines:
    """Appends each frame's lines at once, so that a full disk leaves whole frames."""

    def __init__(self, path: Path, text: FrameText, *, head: str = "") -> None:
        self._file = path.open("wb", buffering=0)
        self._text = text
        self._whole = 0  # bytes, of all frames until now
        self._append(head)

    def write(self, frame: SegmentedFrame) -> None:
        """Appends the lines of a frame."""
        self._append(self._text(frame))

    def close(self) -> None:
        """Cuts off what was begun."""
        with self._file:
            self._file.truncate(self._whole)

    def _append(self, text: str) -> None:
        rest = memoryview(text.encode())
        while rest:
            rest = rest[self._file.write(rest) or 0 :]
        self._whole = os.fstat(self._file.fileno()).st_size


def json_line(frame: SegmentedFrame) -> str:
    """A frame as an object of JSON, with a list of its instances."""
    height, width = frame.size
    instances = [
        {
            "track_id": instance.track_id,
            "category_id": instance.category_id,
            "class": instance.class_name,
            "score": round(instance.score, _SCORE_DIGITS),
            "supplemented": instance.supplemented,
            "box": instance.box_px,
            "segmentation": instance.rle,
        }
        for instance in frame.instances
    ]
    time = round(float(frame.time), 6)
    return (
        json.dumps({"frame": frame.index, "time": time, "height": height, "width": width, "instances": instances})
        + "\n"
    )


def csv_rows(frame: SegmentedFrame) -> str:
    """A row for each instance; the mask as COCO's compressed run lengths."""
    height, width = frame.size
    return csv_text(
        (
            *(frame.index, f"{float(frame.time):.6g}", instance.track_id, instance.category_id, instance.class_name),
            *(f"{instance.score:.{_SCORE_DIGITS}f}", int(instance.supplemented)),
            *(*instance.box_px, height, width, instance.rle["counts"]),
        )
        for instance in frame.instances
    )


def csv_head() -> str:
    """The names of the columns."""
    return csv_text([CSV_COLUMNS])


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows of values as text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def mot_lines(frame: SegmentedFrame) -> str:
    """Frame, id, left, top, width, height, score and three times -1: everything counts from 1, classes have no place.

    Source: the data format of the MOTChallenge evaluation kit.
    """
    lines = []
    for instance in frame.instances:
        x1, y1, x2, y2 = instance.box_px
        box = f"{x1 + 1},{y1 + 1},{x2 - x1},{y2 - y1}"
        lines.append(f"{frame.index + 1},{instance.track_id + 1},{box},{instance.score:.{_SCORE_DIGITS}f},-1,-1,-1\n")
    return "".join(lines)


def mots_lines(frame: SegmentedFrame) -> str:
    """Frame, object id, class id, height, width and mask. Masks may not overlap: the best score gets the pixel.

    The object id is 1000 * class + track; frames count from 0, as in KITTI MOTS. Source: the TXT format of MOTS.

    Raises:
        OutputError: more tracks than the ids of the format can hold.
    """
    height, width = frame.size
    labels = frame.tracked.instances.labels.tolist()
    ids = frame.tracked.track_ids.tolist()
    if any(track_id >= MOTS_MOST_INSTANCES for track_id in ids):
        raise OutputError(
            f"format=mots holds {MOTS_MOST_INSTANCES} tracks of a video (object ids are 1000 * class + track), frame "
            f"{frame.index} has track {max(ids)}: raise min_score, or use format=jsonl or csv"
        )
    lines = []
    apart = without_overlap(frame)
    for track_id, label, part, rle in zip(ids, labels, apart.parts, encode_masks(apart), strict=True):
        if part.any():
            category = frame.category_of(label)
            number = MOTS_MOST_INSTANCES * category + track_id
            lines.append((number, f"{frame.index} {number} {category} {height} {width} {rle['counts']}\n"))
    return "".join(line for _, line in sorted(lines))


def without_overlap(frame: SegmentedFrame) -> CroppedMasks:
    """The masks with each pixel given to the instance of the best score; of equals the first."""
    taken = np.zeros(frame.size, dtype=np.bool_)
    parts = list(frame.masks.parts)
    for index in np.argsort(-frame.tracked.instances.scores.cpu().numpy(), kind="stable").tolist():
        (top, left), part = frame.masks.corners[index], parts[index]
        there = taken[top : top + part.shape[0], left : left + part.shape[1]]
        parts[index] = part & ~there
        there |= part
    return CroppedMasks(frame.masks.size, frame.masks.corners, tuple(parts))
