"""The findings of a check of one annotation file, and their text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stmask.data.ytvis import VideoDataset


@dataclass(slots=True)
class Problem:
    """One kind of mistake: how often, and its first occurrence in full; `fatal` ones prevent training.

    A `summary` covers all occurrences in one sentence.
    """

    kind: str
    fatal: bool
    first: str
    count: int = 0
    summary: bool = False

    def __str__(self) -> str:
        weight = "error" if self.fatal else "warning"
        return (
            f"{weight}: {self.first}" if self.summary else f"{weight}: {self.kind}: {self.count}, first: {self.first}"
        )


@dataclass(slots=True)
class Report:
    """What a check found in one annotation file and its frames; `dataset` is its usable part."""

    annotations: Path
    frames: Path | None
    videos: int = 0
    frame_count: int = 0
    tracks: int = 0
    masks: int = 0
    annotated_frames: int = 0
    labelled: bool = False
    frames_read: bool = False
    sampled: int = 0
    problems: dict[str, Problem] = field(default_factory=dict)
    dataset: VideoDataset | None = field(default=None, repr=False)

    def add(self, kind: str, message: str, *, fatal: bool, count: int = 1) -> None:
        """Counts an occurrence of a kind of mistake; the first one's message is kept."""
        self.problems.setdefault(kind, Problem(kind, fatal, message)).count += count

    def warn(self, kind: str, sentence: str, *, count: int) -> None:
        """A warning whose sentence says everything, if there is any occurrence."""
        if count:
            self.problems[kind] = Problem(kind, False, sentence, count, summary=True)

    @property
    def faulty(self) -> bool:
        """Whether there are errors, so that the usable part is not everything in the file."""
        return any(problem.fatal for problem in self.problems.values())

    @property
    def trainable(self) -> bool:
        """Whether this split can be trained on."""
        return self.annotated_frames > 0 and not self.faulty

    @property
    def usable(self) -> bool:
        """Whether it is trainable or, without annotations, free of mistakes."""
        return self.trainable or not (self.labelled or self.faulty)

    def lines(self) -> Iterator[str]:
        """The report as text."""
        yield f"{self.annotations}"
        yield f"  frames in {self.frames if self.frames is not None else '(not found)'}"
        yield (
            f"  {self.videos} videos, {self.frame_count} frames, {self.tracks} tracks, {self.masks} masks, "
            f"{self.annotated_frames} frames with objects"
        )
        for problem in sorted(self.problems.values(), key=lambda p: not p.fatal):
            yield f"  {problem}"
        read = "all frames were read" if self.frames_read else f"{self.sampled} frames were read (--frames reads all)"
        if self.trainable:
            yield f"  can be trained on; {read}"
        elif self.usable:
            yield f"  unlabelled: can be predicted on, not trained on; {read}"
        else:
            yield "  cannot be trained on"
