"""Video AP as a torchmetrics metric."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from stmask.errors import DataError
from stmask.evaluation.explain import Explanation, explain
from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.groups import measure
from stmask.evaluation.results import check_results, to_results
from stmask.evaluation.video_ap import VideoAPReport, assign, summarise
from stmask.structures import VideoResult


class VideoMeanAveragePrecision(Metric):
    """Video AP over the videos of a ground truth, updated with one `VideoResult` at a time.

    Each video is scored once, whatever the number of processes: a video that several of them saw (a distributed sampler
    repeats videos to fill its last round) is merged when the results agree and refused when they don't. Videos that
    were not seen count as videos without predictions.

    Args:
        ground_truth: must have annotations.
        category_ids: its ids of the labels 1..K, None for a class that it does not have; default: its own order.
        seen_only: score only the videos that were seen, for validation on a part of the split.
        explain: `compute` also gives what each cause of error costs and how often it occurs, "explain/cost/wrong_class"
            and so on (see `stmask.evaluation.explain`).

    Example:
        metric = VideoMeanAveragePrecision(GroundTruth.load("valid.json"))
        for result in results:
            metric.update(result)
        metric.compute()["AP"]
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    lines: list[Tensor]

    def __init__(
        self,
        ground_truth: GroundTruth,
        *,
        category_ids: Sequence[int | None] | None = None,
        seen_only: bool = False,
        explain: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # lines of JSON as bytes: the one form in which torchmetrics concatenates, gathers and stores run lengths
        self.add_state("lines", default=[], dist_reduce_fx="cat")
        ground_truth.labelled_tracks  # noqa: B018  (raises for an unlabelled file now, not after an epoch)
        self.ground_truth = ground_truth
        self.category_ids = ground_truth.category_ids if category_ids is None else tuple(category_ids)
        self.seen_only = seen_only
        self.explain = explain
        self._report: VideoAPReport | None = None
        self._explanation: Explanation | None = None

    def update(self, result: VideoResult) -> None:
        """Adds the tracks of one video.

        Raises:
            DataError: the video is not in the ground truth or has another length there, or a label is out of range.
        """
        video = self.ground_truth.videos.get(result.video_id)
        if video is None:
            raise DataError(f"video {result.video_id} is not in {self.ground_truth.source}")
        if video.length != result.length:
            raise DataError(
                f"video {result.video_id} was given {result.length} frames, "
                f"it has {video.length} in {self.ground_truth.source}"
            )
        line = json.dumps([result.video_id, to_results([result], self.category_ids)]) + "\n"
        self.lines.append(torch.frombuffer(bytearray(line, "ascii"), dtype=torch.uint8).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The 12 figures as float64 scalars, -1 where undefined, and with `explain` the costs and counts of errors.

        Raises:
            DataError: a video came twice with different results, or a mask has another size than its video.
        """
        seen = self._entries()
        ground_truth = self.ground_truth.only(sorted(seen)) if self.seen_only else self.ground_truth
        entries = [entry for video_id in sorted(seen) for entry in seen[video_id]]
        overlaps = measure(ground_truth, check_results(entries, ground_truth))
        matches = assign(ground_truth, overlaps)
        self._report = summarise(ground_truth, overlaps, matches)
        values = self._report.stats
        if self.explain:
            self._explanation = explain(ground_truth, overlaps, matches)
            values = values | {f"explain/{name}": value for name, value in self._explanation.scalars().items()}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}

    def results(self) -> list[dict[str, Any]]:
        """The entries of a results file over the videos of all processes; under DDP every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            seen = self._entries()
        return [entry for video_id in sorted(seen) for entry in seen[video_id]]

    def report(self) -> VideoAPReport:
        """The full report behind `compute`, which it calls; under DDP every process must."""
        self.compute()
        assert self._report is not None
        return self._report

    def explanation(self) -> Explanation:
        """What `explain` is about, in full; under DDP every process must call it.

        Raises:
            ValueError: the metric was made without `explain`.
        """
        if not self.explain:
            raise ValueError("only a metric made with explain=True explains")
        self.compute()
        assert self._explanation is not None
        return self._explanation

    def reset(self) -> None:
        """Forgets all videos."""
        super().reset()
        self._report = self._explanation = None

    def _entries(self) -> dict[int, list[dict[str, Any]]]:
        """The entries of a results file for each video that was seen."""
        parts = [self.lines] if isinstance(self.lines, Tensor) else self.lines
        seen: dict[int, list[dict[str, Any]]] = {}
        for line in b"".join(part.cpu().numpy().tobytes() for part in parts).splitlines():
            video_id, entries = json.loads(line)
            if seen.setdefault(video_id, entries) != entries:
                raise DataError(
                    f"video {video_id} was scored twice with different results: reset the metric between epochs, and "
                    "give each video to one process"
                )
        return seen

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        # a process without videos would send an empty float tensor, which cannot be gathered with bytes
        self.lines = self.lines or [torch.zeros(0, dtype=torch.uint8, device=self.device)]
        super()._sync_dist(*args, **kwargs)
