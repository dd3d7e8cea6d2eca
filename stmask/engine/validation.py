"""How a training is validated: what the network does with one item of the validation loader, and how that is scored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from stmask.checkpoints import ModelCard
from stmask.class_names import listed
from stmask.data import ImageDataModule, VISDataModule
from stmask.engine.videos import Video, segment_image, segment_video
from stmask.errors import DataError
from stmask.evaluation import GroundTruth, VideoAPReport, VideoMeanAveragePrecision
from stmask.evaluation.gathering import CollectedResults
from stmask.evaluation.image_ap import IMAGE_FIGURES, ImageAPReport
from stmask.evaluation.image_metric import ImageMeanAveragePrecision
from stmask.evaluation.image_truth import ImageGroundTruth
from stmask.inference.segmenter import VideoSegmenter
from stmask.models import VideoModel
from stmask.structures import ImageResult, VideoResult

_log = logging.getLogger(__name__)
_EXPLAINED = "explain/"  # what each cause of error costs


class Validator(nn.Module):
    """Runs a network over the items of a validation loader and scores the results: `start`, then `step`s, `finish`.

    A module only so that the metric in it moves with, and synchronises like, those of the module that holds it; it has
    no parameters and leaves nothing in checkpoints.

    Attributes:
        figures: names of what a training can be judged by, all the better the higher; the first is the usual one.
        metric: has seen every item since `start`.
    """

    figures: tuple[str, ...]

    def __init__(self, metric: CollectedResults) -> None:
        super().__init__()
        self.metric = metric

    def start(self, model: VideoModel, card: ModelCard, *, device: torch.device) -> None:
        """Forgets what was before and makes ready to run `model` as its card says."""
        self.metric.reset()
        self._segmenter = VideoSegmenter(
            model, preprocessor=card.preprocessor, class_names=card.class_names, device=device
        )

    def step(self, item: Any) -> Any:
        """One item of the loader through the network; returns its result."""
        raise NotImplementedError

    def finish(self) -> dict[str, float]:
        """The figures over the items of all processes, to be logged; under DDP every process must call it."""
        return {name: float(value) for name, value in self.metric.compute().items()}

    @property
    def report(self) -> Any:
        """All that lies behind the figures. Only after `finish`, then in any process by itself."""
        raise NotImplementedError

    def results(self) -> list[dict[str, Any]]:
        """The entries of a results file over the items of all processes; under DDP every process must call it."""
        return self.metric.results()


class VideoValidator(Validator):
    """Segments and tracks whole videos and scores them by video AP, over the videos that were seen."""

    figures = ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10")
    metric: VideoMeanAveragePrecision  # has the explanation of the errors besides the report

    def __init__(self, ground_truth: GroundTruth, category_ids: Sequence[int | None] | None = None) -> None:
        super().__init__(
            VideoMeanAveragePrecision(ground_truth, category_ids=category_ids, seen_only=True, explain=True)
        )

    def step(self, item: Video) -> VideoResult:
        result = segment_video(self._segmenter, item)
        self.metric.update(result)
        return result

    def finish(self) -> dict[str, float]:
        stats = super().finish()
        return {name: value for name, value in stats.items() if name in self.figures or name.startswith(_EXPLAINED)}

    @property
    def report(self) -> VideoAPReport:
        return self.metric.report()  # `finish` computed it


class ImageValidator(Validator):
    """Segments images, without tracking, and scores masks and boxes by COCO's AP, over the images that were seen."""

    figures = IMAGE_FIGURES
    metric: ImageMeanAveragePrecision

    def __init__(self, ground_truth: ImageGroundTruth, category_ids: Sequence[int | None] | None = None) -> None:
        super().__init__(ImageMeanAveragePrecision(ground_truth, category_ids=category_ids))

    def step(self, item: Video) -> ImageResult:
        result = segment_image(self._segmenter, item)
        self.metric.update(result)
        return result

    @property
    def report(self) -> ImageAPReport:
        return self.metric.report()  # `finish` computed it


def validator_for(data: VISDataModule) -> Validator | None:
    """What fits the items of a data module's validation loader; None where it has none.

    Raises:
        DataError: the split has no annotations to score with, or other classes than the data that is trained on.
    """
    if data.valid_split is None:
        return None
    if not data.valid_dataset.scorable:  # every AP would be -1
        raise DataError(
            f"{data.valid_dataset.annotations_path} has no annotations of objects to validate with: "
            "data.valid=null trains without validation, `stmask data split` divides labelled videos in two"
        )
    category_ids = data.valid_category_ids
    if left_out := [name for name, category in zip(data.class_names, category_ids) if category is None]:
        _tell_left_out(left_out, str(data.valid_dataset.annotations_path))
    return _fitting(data, category_ids)


@rank_zero_only
def _tell_left_out(names: Sequence[str], source: str) -> None:
    _log.warning("not among the categories of %s, so not validated: %s", source, listed(names))


@singledispatch
def _fitting(data: VISDataModule, category_ids: Sequence[int | None]) -> Validator:
    return VideoValidator(GroundTruth.load(data.valid_dataset.annotations_path), category_ids)


@_fitting.register
def _(data: ImageDataModule, category_ids: Sequence[int | None]) -> Validator:
    return ImageValidator(ImageGroundTruth.load(data.valid_dataset.annotations_path), category_ids)
