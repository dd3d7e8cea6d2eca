"""Results in the format of YouTube-VIS: one entry for each track."""

from __future__ import annotations

from pathlib import Path

from stmask.evaluation import write_results
from stmask.inference.sinks.base import SegmentedFrame
from stmask.tasks.results import ClassVote, VideoResultBuilder

_VIDEO_ID = 1


class Tracks:
    """Collects encoded masks; the file is written when it is closed."""

    def __init__(self, path: Path, *, class_vote: ClassVote = "frames") -> None:
        self._path = path
        self._builder = VideoResultBuilder(_VIDEO_ID, class_vote=class_vote)
        self._length = 0
        self._category_ids: list[int] = []

    def write(self, frame: SegmentedFrame) -> None:
        """Takes the masks of a frame."""
        self._builder.add(frame.tracked, frame.rles)
        self._length = frame.index + 1
        most = max(len(self._category_ids), *frame.tracked.instances.labels.tolist(), 0)
        self._category_ids = [frame.category_of(label) for label in range(1, most + 1)]

    def close(self) -> None:
        """Writes the tracks."""
        write_results(self._path, [self._builder.build(self._length)], self._category_ids)
