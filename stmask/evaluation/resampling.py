"""AP of videos that are drawn again and again, from matches that are made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from stmask.evaluation.curves import RECALL_POINTS
from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.groups import measure
from stmask.evaluation.matching import IOU_THRESHOLDS
from stmask.evaluation.results import check_results
from stmask.evaluation.video_ap import assign

_AT_ONCE = 250  # draws, to stay in the processor's cache


@dataclass(frozen=True, slots=True)
class MatchedVideos:
    """The matches of N predictions in V videos of K categories, of all sizes and at T thresholds.

    Attributes:
        video_ids: (V,) ascending.
        video: (N,) position in `video_ids`.
        category: (N,) position among the categories by id; ascending.
        hits, misses: (T, N) true and false positives, within a category in score order; the others are ignored.
        counted: (V, K) annotations that count.
    """

    video_ids: npt.NDArray[np.int64]
    video: npt.NDArray[np.int64]
    category: npt.NDArray[np.int64]
    hits: npt.NDArray[np.bool_]
    misses: npt.NDArray[np.bool_]
    counted: npt.NDArray[np.int64]

    @staticmethod
    def of(ground_truth: GroundTruth, results: Sequence[Mapping[str, Any]]) -> MatchedVideos:
        """Matches the entries of a results.json, as the metric does.

        Raises:
            DataError: the ground truth has no annotations, or an entry of the results is wrong.
        """
        overlaps = measure(ground_truth, check_results(results, ground_truth))
        matches = assign(ground_truth, overlaps)
        matched, ignored = matches.truth[0] >= 0, matches.ignored[0]  # of all sizes
        video_ids = np.array(sorted(ground_truth.videos), dtype=np.int64)
        categories = np.array([category.id for category in ground_truth.sorted_categories], dtype=np.int64)
        counted = np.zeros((len(video_ids), len(categories)), dtype=np.int64)
        tracks = [track for track in ground_truth.labelled_tracks if not track.is_crowd]
        rows = np.searchsorted(video_ids, [track.video_id for track in tracks])
        np.add.at(counted, (rows, np.searchsorted(categories, [track.category_id for track in tracks])), 1)
        return MatchedVideos(
            video_ids=video_ids,
            video=np.searchsorted(video_ids, overlaps.predictions.video_ids),
            category=np.searchsorted(categories, overlaps.predictions.category_ids),
            hits=matched & ~ignored,
            misses=~matched,
            counted=counted,
        )

    def only(self, video_ids: npt.NDArray[np.int64]) -> MatchedVideos:
        """Those of some of the videos, ascending."""
        places = np.searchsorted(self.video_ids, video_ids)
        position = np.full(len(self.video_ids), -1, dtype=np.int64)
        position[places] = np.arange(len(video_ids))
        kept = position[self.video] >= 0
        return MatchedVideos(
            video_ids=video_ids,
            video=position[self.video[kept]],
            category=self.category[kept],
            hits=self.hits[:, kept],
            misses=self.misses[:, kept],
            counted=self.counted[places],
        )

    def average_precision(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """AP (B,) in [0, 1] of the videos as often as `times` (B, V) says; NaN where no annotation counts.

        The AP is that of the metric for a dataset with so many copies of each video.
        """
        parts = [self._of_some(times[first : first + _AT_ONCE]) for first in range(0, len(times), _AT_ONCE)]
        return np.concatenate([np.zeros(0), *parts])

    def _of_some(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        totals = times @ self.counted  # (B, K)
        bounds = np.searchsorted(self.category, np.arange(totals.shape[1] + 1)).tolist()
        sums = np.zeros(len(times))
        for k, (first, last) in enumerate(pairwise(bounds)):
            own = times[:, self.video[first:last]].astype(np.int32)  # (B, n) copies of each prediction
            sums += np.where(totals[:, k] > 0, self._of_category(own, slice(first, last), totals[:, k]), 0.0)
        defined = (totals > 0).sum(axis=1)
        return np.where(defined > 0, sums / np.maximum(defined, 1) / len(IOU_THRESHOLDS), np.nan)

    def _of_category(
        self, times: npt.NDArray[np.int32], places: slice, total: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """The sum over the thresholds (B,), for predictions that are there (B, n) times and (B,) annotations.

        The best precision from some place on is always that of a hit, so that only those are looked at; copies of a hit
        stand together, and the last of them has the best precision.
        """
        sums = np.zeros(len(times))
        table = _points_reached(int(total.max(initial=0)))
        row = total[:, None] * len(table)
        all_seen = times.cumsum(axis=1, dtype=np.int32)
        for hits, misses in zip(self.hits[:, places], self.misses[:, places], strict=True):
            found = np.flatnonzero(hits)
            if not len(found):
                continue
            some = not (hits | misses).all()
            seen = np.where(hits | misses, times, 0).cumsum(axis=1, dtype=np.int32) if some else all_seen
            true = times[:, found].cumsum(axis=1, dtype=np.int32)
            best = true / (seen[:, found] + np.spacing(1))
            np.maximum.accumulate(best[:, ::-1], axis=1, out=best[:, ::-1])
            reached = table.ravel()[row + true]
            sums += reached[:, 0] * best[:, 0] + ((reached[:, 1:] - reached[:, :-1]) * best[:, 1:]).sum(axis=1)
        return sums / len(RECALL_POINTS)


@lru_cache(maxsize=64)
def _points_reached(most: int) -> npt.NDArray[np.int64]:
    """How many recall points each number of hits (column) of each number of annotations (row) up to `most` reaches."""
    counts = np.arange(most + 1)
    reached: npt.NDArray[np.int64] = np.searchsorted(
        RECALL_POINTS, counts / np.maximum(counts, 1)[:, None], side="right"
    )
    return reached
