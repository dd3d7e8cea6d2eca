"""Videos: segmented and tracked frame by frame, scored by video AP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stmask.evaluation.explain import explain
from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.groups import measure
from stmask.evaluation.report import metrics_table
from stmask.evaluation.results import check_results, to_results
from stmask.evaluation.video_ap import MASK_METRICS, VideoAPReport, assign, summarise
from stmask.structures import VideoResult
from stmask.tasks.base import Entry, Item, Metric, Scores, Segmenter, require_own_names
from stmask.tasks.results import VideoResultBuilder

_JUDGED_BY = ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Videos:
    """Video instance segmentation.

    Attributes:
        metrics: your own, by name, besides those of YouTube-VIS.
    """

    metrics: Mapping[str, Metric] = field(default_factory=dict)

    drawn = True

    def __post_init__(self) -> None:
        require_own_names(self.metrics, MASK_METRICS)

    @property
    def judged_by(self) -> tuple[str, ...]:
        return (*_JUDGED_BY, *self.metrics)

    def check(self, *, items: int, frames: int, source: Path) -> None:
        """Any dataset is one of videos; an image is a video of one frame."""

    def run(self, segmenter: Segmenter, item: Item, *, on_frame: Callable[[], None] | None = None) -> VideoResult:
        """Segments and tracks all frames of a video; masks are encoded at the video's own size."""
        segmenter.reset()
        builder = VideoResultBuilder(item.video_id)
        for frame in item:
            tracked = segmenter.step(frame)
            builder.add(tracked, tracked.cropped_masks_at(item.size))
            if on_frame is not None:
                on_frame()
        return builder.build(len(item))

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
