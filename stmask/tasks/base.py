"""The contract of a task: all that validation and `stmask evaluate` know about videos and images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from stmask.errors import ConfigError
from stmask.evaluation.report import ReportByClass
from stmask.structures import TrackedFrame

Entry = dict[str, Any]  # of a results.json
Frame = npt.NDArray[np.uint8]  # (h, w, 3) RGB


class Item(Protocol):
    """As `stmask.data.VideoClip`: a video whose RGB frames (h, w, 3) uint8 are decoded one by one."""

    @property
    def video_id(self) -> int:
        """Its id in the annotation file."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its frames."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Frame]: ...


SomeItem = TypeVar("SomeItem", bound=Item)


class VideosSideBySide(Protocol):
    """As `stmask.inference.SideBySide`: several videos at once."""

    def reset(self, video: int) -> None:
        """The next frame of this video begins another one."""
        ...

    def step(self, frames: Sequence[Frame | None]) -> Sequence[TrackedFrame | None]:
        """The next frame of each video, as reported; None for a video that has none now."""
        ...


class Segmenter(Protocol):
    """As `stmask.VideoSegmenter`."""

    def side_by_side(self, videos: int) -> VideosSideBySide:
        """So many videos at once."""
        ...

    def detect_many(self, images: Sequence[Frame]) -> Sequence[TrackedFrame]:
        """What is in each of several images."""
        ...


class Metric(Protocol):
    """A metric of your own; higher is better.

    Args (of the call):
        truth: of the whole split, `GroundTruth` for videos and `ImageGroundTruth` for images.
        entries: of a results.json, of the items that were seen.
        item_ids: of these items, in the order of the dataset.
    """

    def __call__(self, truth: Any, entries: Sequence[Entry], item_ids: Sequence[int], /) -> float: ...


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a task's results.

    Attributes:
        report: the details behind the metrics, with a row for each class.
        metrics: all of them by name, your own last; -1 where undefined.
        causes: what each cause of error costs and how often it occurs ("explain/cost/missed"), where the task explains.
    """

    report: ReportByClass
    metrics: Mapping[str, float]
    causes: Mapping[str, float] = field(default_factory=dict)


class Task(Protocol):
    """How the items of a dataset are run, recorded, scored and reported.

    Attributes:
        judged_by: the metrics that validation logs and a run can be judged by, the usual one first.
        drawn: whether validation draws pictures of its results.
        metrics: of the user's own, by name; they are among `judged_by` too.
    """

    @property
    def judged_by(self) -> tuple[str, ...]: ...

    @property
    def drawn(self) -> bool: ...

    @property
    def metrics(self) -> Mapping[str, Metric]: ...

    def check(self, *, items: int, frames: int, source: Path) -> None:
        """Raises DataError if a dataset, the items and frames of the file `source`, does not suit this task."""

    def run(
        self,
        segmenter: Segmenter,
        items: Iterable[SomeItem],
        *,
        batch: int = 1,
        on_frame: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[SomeItem, Any]]:
        """Items through a segmenter, each with its result as soon as it is done.

        Args:
            items: taken from their iterator as they are needed.
            batch: so many are done side by side, a frame of each in one pass of the network.
            on_frame: called after each frame, for progress bars.
        """

    def entries(self, result: Any, category_ids: Sequence[int | None]) -> list[Entry]:
        """A result as entries of a results.json.

        Args:
            category_ids: the dataset's ids of the labels 1..K; None for a class that it does not have.

        Raises:
            DataError: a label is not in 1..K.
        """

    def truth(self, annotations: Path) -> Any:
        """What entries are scored against; raises DataError where the file is wrong or has no annotations."""

    def score(self, truth: Any, entries: Sequence[Entry], item_ids: Sequence[int]) -> Scores:
        """Scores the entries of the items that were seen; raises DataError where an entry does not fit the truth."""

    def table(self, report: Any) -> str:
        """The metrics of a report, for the terminal."""

    def count(self, items: int, frames: int) -> str:
        """The number of items, as text."""


def require_own_names(metrics: Mapping[str, Metric], taken: Sequence[str]) -> None:
    """Raises ConfigError if a metric of your own has a name that is taken."""
    if double := sorted(metrics.keys() & set(taken)):
        raise ConfigError(f"data.task.metrics.{double[0]}: {double[0]} is a metric of stmask, give yours another name")
