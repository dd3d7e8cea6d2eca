"""Videos: segmented and tracked frame by frame, scored by video AP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic

from stmask.evaluation.explain import explain
from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.groups import measure
from stmask.evaluation.report import metrics_table
from stmask.evaluation.results import check_results, to_results
from stmask.evaluation.video_ap import MASK_METRICS, VideoAPReport, assign, summarise
from stmask.overlap import Stage
from stmask.structures import TrackedFrame, VideoResult
from stmask.tasks.base import Entry, Frame, Metric, Scores, Segmenter, SomeItem, require_own_names
from stmask.tasks.results import ClassVote, VideoResultBuilder, require_class_vote

_JUDGED_BY = ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Videos:
    """Video instance segmentation.

    Attributes:
        metrics: your own, by name, besides those of YouTube-VIS.
        class_vote: how the frames of a track choose its class; see `VideoResultBuilder`.
    """

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    class_vote: ClassVote = "frames"

    drawn = True

    def __post_init__(self) -> None:
        require_own_names(self.metrics, MASK_METRICS)
        require_class_vote(self.class_vote)

    @property
    def judged_by(self) -> tuple[str, ...]:
        return (*_JUDGED_BY, *self.metrics)

    def check(self, *, items: int, frames: int, source: Path) -> None:
        """Any dataset is one of videos; an image is a video of one frame."""

    def run(
        self,
        segmenter: Segmenter,
        items: Iterable[SomeItem],
        *,
        batch: int = 1,
        on_frame: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[SomeItem, VideoResult]]:
        """Segments and tracks all frames of the videos; masks are encoded at each one's own size, in threads."""
        waiting = iter(items)
        beside = segmenter.side_by_side(batch)
        with ExitStack() as threads:
            stages = [threads.enter_context(Stage("masks")) for _ in range(batch)]
            lanes = [_Lane[SomeItem](masks, class_vote=self.class_vote) for masks in stages]
            for lane in lanes:
                threads.callback(lane.close)
            while True:
                for number, lane in enumerate(lanes):
                    while (frame := lane.next_frame()) is None:
                        if (done := lane.item) is not None:
                            yield done, lane.result()
                        if (item := next(waiting, None)) is None:
                            break
                        beside.reset(number)
                        lane.begin(item)
                    lane.frame = frame
                if all(lane.frame is None for lane in lanes):
                    return
                tracked = beside.step([lane.frame for lane in lanes])
                for lane, found in zip(lanes, tracked, strict=True):
                    if found is not None:
                        lane.add(found)
                        on_frame()

    def entries(self, result: VideoResult, category_ids: Sequence[int | None]) -> list[Entry]:
        return to_results([result], category_ids)

    def truth(self, annotations: Path) -> GroundTruth:
        truth = GroundTruth.load(annotations)
        truth.labelled_tracks  # noqa: B018  (raises for an unlabelled file)
        return truth

    def score(self, truth: GroundTruth, entries: Sequence[Entry], item_ids: Sequence[int]) -> Scores:
        seen = truth.only(sorted(item_ids))
        overlaps = measure(seen, check_results(entries, seen))
        matches = assign(seen, overlaps)
        report = summarise(seen, overlaps, matches)
        causes = explain(seen, overlaps, matches).scalars()
        own = {name: float(metric(truth, entries, item_ids)) for name, metric in self.metrics.items()}
        return Scores(report, {**report.stats, **own}, {f"explain/{name}": value for name, value in causes.items()})

    def table(self, report: VideoAPReport) -> str:
        return metrics_table(report)

    def count(self, items: int, frames: int) -> str:
        return f"{items} videos, {frames} frames"


class _Lane(Generic[SomeItem]):
    """Where one video at a time goes through: its frames, and its masks in a thread.

    Attributes:
        item: the video, None before the first and after the last.
        frame: its next.
    """

    def __init__(self, masks: Stage, *, class_vote: ClassVote) -> None:
        self.item: SomeItem | None = None
        self.frame: Frame | None = None
        self._frames: Iterator[Frame] = iter(())
        self._masks = masks
        self._builder = VideoResultBuilder(0)
        self._class_vote = class_vote

    def begin(self, item: SomeItem) -> None:
        self.item, self._frames = item, iter(item)
        self._builder = VideoResultBuilder(item.video_id, class_vote=self._class_vote)

    def next_frame(self) -> Frame | None:
        return next(self._frames, None)

    def add(self, tracked: TrackedFrame) -> None:
        assert self.item is not None
        self._masks.do(partial(_encode, self._builder, tracked, self.item.size))

    def result(self) -> VideoResult:
        """Of the video, which is over."""
        assert self.item is not None
        self._masks.finish()
        item, self.item = self.item, None
        return self._builder.build(len(item))

    def close(self) -> None:
        """Ends the reading of frames that nobody will ask for."""
        if (close := getattr(self._frames, "close", None)) is not None:
            close()


def _encode(builder: VideoResultBuilder, tracked: TrackedFrame, size: tuple[int, int]) -> None:
    builder.add(tracked, tracked.cropped_masks_at(size))
