"""Single images: segmented one by one, without tracking, masks and boxes scored by COCO's AP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from stmask.errors import DataError
from stmask.evaluation.image_ap import IMAGE_METRICS, ImageAPReport, evaluate_images, to_detections
from stmask.evaluation.image_truth import ImageGroundTruth
from stmask.evaluation.report import image_metrics_table
from stmask.overlap import read_ahead
from stmask.structures import ImageResult
from stmask.tasks.base import Entry, Frame, Metric, Scores, Segmenter, SomeItem, require_own_names
from stmask.tasks.results import image_result

_INSTANCES_PER_IMAGE = 100  # as COCO scores them


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Image instance segmentation; an image comes as a video of one frame.

    Attributes:
        metrics: your own, by name, besides those of COCO.
    """

    metrics: Mapping[str, Metric] = field(default_factory=dict)

    drawn = False

    def __post_init__(self) -> None:
        require_own_names(self.metrics, IMAGE_METRICS)

    @property
    def judged_by(self) -> tuple[str, ...]:
        return (*IMAGE_METRICS, *self.metrics)

    def check(self, *, items: int, frames: int, source: Path) -> None:
        if frames != items:
            raise DataError(
                f"{source} holds {items} videos of {frames} frames, not images: train on it with data=custom, or make "
                "images of it by `stmask data convert ytvis-to-coco`"
            )

    def run(
        self,
        segmenter: Segmenter,
        items: Iterable[SomeItem],
        *,
        batch: int = 1,
        on_frame: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[SomeItem, ImageResult]]:
        """Segments images: of each its best instances, at its own size. The next ones are read in a thread."""
        with closing(read_ahead(_pixels(items), most=batch + 1, name="images")) as read:
            while group := list(islice(read, batch)):
                tracked = segmenter.detect_many([pixels for _, pixels in group])
                for (item, _), found in zip(group, tracked, strict=True):
                    best = found.instances.scores.topk(min(len(found), _INSTANCES_PER_IMAGE)).indices
                    result = image_result(item.video_id, found[best], item.size)
                    on_frame()
                    yield item, result

    def entries(self, result: ImageResult, category_ids: Sequence[int | None]) -> list[Entry]:
        return to_detections([result], category_ids)

    def truth(self, annotations: Path) -> ImageGroundTruth:
        return ImageGroundTruth.load(annotations)

    def score(self, truth: ImageGroundTruth, entries: Sequence[Entry], item_ids: Sequence[int]) -> Scores:
        report = evaluate_images(truth, entries, image_ids=sorted(item_ids))
        own = {name: float(metric(truth, entries, item_ids)) for name, metric in self.metrics.items()}
        return Scores(report, {**report.stats, **own})

    def table(self, report: ImageAPReport) -> str:
        return image_metrics_table(report)

    def count(self, items: int, frames: int) -> str:
        return f"{items} images"


def _pixels(items: Iterable[SomeItem]) -> Iterator[tuple[SomeItem, Frame]]:
    for item in items:
        (pixels,) = item
        yield item, pixels
