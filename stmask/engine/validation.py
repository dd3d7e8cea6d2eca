"""How a run is validated: the network over the items of the validation loader, and how that is scored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import distributed

from stmask.checkpoints import ModelCard
from stmask.class_names import listed
from stmask.data import DataModule, VideoClip
from stmask.errors import DataError
from stmask.inference.segmenter import VideoSegmenter
from stmask.models import VideoModel
from stmask.tasks import Scores, Task

_log = logging.getLogger(__name__)
_Recorded = dict[int, tuple[int, list[dict[str, Any]], float]]  # by place: id of an item, its entries, seconds


class Validator:
    """Runs a network over the items of a validation loader and scores the results: `start`, then `step`s, `finish`.

    Attributes:
        task: says how.
        scores, entries: of the last validation, over the items of all processes; the entries of a results.json are in
            the order of the dataset.
        seconds: that each item took then, by its id.
    """

    scores: Scores
    entries: list[dict[str, Any]]
    seconds: dict[int, float]

    def __init__(self, task: Task, truth: Any, category_ids: Sequence[int | None]) -> None:
        self.task = task
        self._truth = truth
        self._category_ids = category_ids
        self._recorded: _Recorded = {}

    def start(self, model: VideoModel, card: ModelCard, *, device: torch.device) -> None:
        """Forgets what was before and makes ready to run `model` as its card says."""
        self._recorded = {}
        self._segmenter = VideoSegmenter(
            model, preprocessor=card.preprocessor, class_names=card.class_names, device=device, graphs=False
        )

    def step(self, item: VideoClip) -> Any:
        """One item of the loader through the network; returns its result."""
        start = perf_counter()
        ((_, result),) = self.task.run(self._segmenter, [item])
        self.record(item, result, seconds=perf_counter() - start)
        return result

    def record(self, item: VideoClip, result: Any, *, seconds: float = 0.0) -> None:
        """Takes in what a network made of an item, and the seconds that it took."""
        self._recorded[item.index] = (item.video_id, self.task.entries(result, self._category_ids), seconds)

    def finish(self) -> dict[str, float]:
        """The metrics over the items of all processes, to be logged; under DDP every process must call it."""
        recorded = sorted(_of_all_processes(self._recorded).items())
        self.entries = [entry for _, (_, entries, _) in recorded for entry in entries]
        self.seconds = {item_id: seconds for _, (item_id, _, seconds) in recorded}
        self.scores = self.task.score(self._truth, self.entries, list(self.seconds))
        return {**{name: self.scores.metrics[name] for name in self.task.judged_by}, **self.scores.causes}


def _of_all_processes(recorded: _Recorded) -> _Recorded:
    if not (distributed.is_available() and distributed.is_initialized()):
        return recorded
    shares: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(shares, recorded)
    return {place: entries for share in shares for place, entries in share.items()}


def validator_for(data: DataModule) -> Validator | None:
    """What fits the items of a data module's validation loader; None where it has none.

    Raises:
        DataError: the split has no annotations to score with, or other classes than the data that is trained on.
    """
    if data.splits.valid is None:
        return None
    dataset = data.valid_dataset
    if not dataset.scorable:  # every AP would be -1
        raise DataError(
            f"{dataset.annotations_path} has no annotations of objects to validate with: "
            "data.valid=null trains without validation, `stmask data split` divides labelled videos in two"
        )
    category_ids = data.splits.valid_category_ids
    if left_out := [name for name, category in zip(data.class_names, category_ids) if category is None]:
        source = dataset.annotations_path
        rank_zero_only(_log.warning)("not among the categories of %s, so not validated: %s", source, listed(left_out))
    return Validator(data.task, data.task.truth(dataset.annotations_path), category_ids)
