"""How a training is validated: what the network does with one item of the validation loader, and how that is scored."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from stmask.data import VISDataModule
from stmask.engine.videos import Video, segment_video
from stmask.evaluation import GroundTruth, VideoAPReport, VideoMeanAveragePrecision
from stmask.inference.builder import build_segmenter
from stmask.inference.card import ModelCard
from stmask.models import STMask
from stmask.structures import VideoResult

_EXPLAINED = "explain/"  # what each cause of error costs


class Validator(nn.Module):
    """Runs a network over the items of a validation loader and scores the results: `start`, then `step`s, `finish`.

    A module only so that the metrics in it move with, and synchronise like, those of the module that holds it; it has
    no parameters and leaves nothing in checkpoints.

    Attributes:
        figures: names of what a training can be judged by, all the better the higher; the first is the usual one.
    """

    figures: tuple[str, ...]

    def start(self, model: STMask, card: ModelCard, *, device: torch.device) -> None:
        """Forgets what was before and makes ready to run `model` as its card says."""
        raise NotImplementedError

    def step(self, item: Any) -> Any:
        """One item of the loader through the network; returns its result."""
        raise NotImplementedError

    def finish(self) -> dict[str, float]:
        """The figures over the items of all processes, to be logged; under DDP every process must call it."""
        raise NotImplementedError

    @property
    def report(self) -> Any:
        """All that lies behind the figures. Only after `finish`, then in any process by itself."""
        raise NotImplementedError

    def results(self) -> list[dict[str, Any]]:
        """The entries of a results file over the items of all processes; under DDP every process must call it."""
        raise NotImplementedError


class VideoValidator(Validator):
    """Segments and tracks whole videos and scores them by video AP, over the videos that were seen.

    Args:
        ground_truth: must have annotations.

    Attributes:
        metric: has the explanation of the errors besides the report.
    """

    figures = ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10")

    def __init__(self, ground_truth: GroundTruth) -> None:
        super().__init__()
        self.metric = VideoMeanAveragePrecision(ground_truth, seen_only=True, explain=True)

    def start(self, model: STMask, card: ModelCard, *, device: torch.device) -> None:
        self.metric.reset()
        self._segmenter = build_segmenter(
            model, card.inference, preprocessor=card.preprocessor, class_names=card.class_names, device=device
        )

    def step(self, item: Video) -> VideoResult:
        result = segment_video(self._segmenter, item)
        self.metric.update(result)
        return result

    def finish(self) -> dict[str, float]:
        stats = self.metric.compute()
        names = [*self.figures, *(name for name in stats if name.startswith(_EXPLAINED))]
        return {name: float(stats[name]) for name in names}

    @property
    def report(self) -> VideoAPReport:
        return self.metric.report()  # `finish` computed it

    def results(self) -> list[dict[str, Any]]:
        return self.metric.results()


def validator_for(data: VISDataModule) -> Validator | None:
    """What fits the items of a data module's validation loader; None where it has none.

    Raises:
        DataError: the split has no annotations to score with.
    """
    if data.valid_split is None:
        return None
    return VideoValidator(GroundTruth.load(data.valid_dataset.annotations_path))
