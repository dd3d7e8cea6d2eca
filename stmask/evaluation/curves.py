"""Precision and recall from matches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stmask.evaluation.matching import IOU_THRESHOLDS

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = (1, 10, 100)  # per video and category
_AT_ONCE = 1 << 13  # predictions


@dataclass(frozen=True, slots=True)
class Curves:
    """Precision and recall over T thresholds, R recall points, K categories, A area ranges, M detection limits.

    Entries are -1 where a category has no annotation that counts.

    Attributes:
        precision: (T, R, K, A, M) the best precision at that recall or more, 0 where the recall is not reached.
        recall: (T, K, A, M) the final recall.
        scores: (T, R, K, A, M) the score at which the recall point is reached, 0 where it is not.
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranked:
    """N predictions in columns, sorted by category and within it by score, best first.

    Attributes:
        category: (N,) position on the class axis.
        scores: (N,).
        rank: (N,) place among the predictions of its video and category, from 0.
        hits, misses: (A, T, N) true and false positives; a prediction that is neither is ignored.
    """

    category: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    rank: npt.NDArray[np.int64]
    hits: npt.NDArray[np.bool_]
    misses: npt.NDArray[np.bool_]


def accumulate(ranked: Ranked, counted: npt.NDArray[np.int64]) -> Curves:
    """Precision and recall of every category from (K, A) numbers of annotations that count."""
    k, a, t, r, m = (*counted.shape, len(IOU_THRESHOLDS), len(RECALL_POINTS), len(MAX_DETECTIONS))
    # filled in the order in which curves come, and transposed at the end
    precision, scores = np.empty((k, m, a, t, r)), np.empty((k, m, a, t, r))
    start = np.where(counted > 0, 0.0, -1.0)[:, None, :, None]
    precision[:] = scores[:] = start[..., None]
    recall = np.repeat(np.repeat(start, m, axis=1), t, axis=3)
    bounds = np.searchsorted(ranked.category, np.arange(k + 1))
    for first, last in _chunks(bounds):
        block = np.arange(bounds[first], bounds[last])
        found, size = None, -1
        for limit, most in enumerate(MAX_DETECTIONS):
            chosen = block[ranked.rank[block] < most]
            if found is None or len(chosen) != size:  # else no video has that many: the same as with the last limit
                size = len(chosen)
                found = reached_curves(
                    ranked.hits[:, :, chosen],
                    ranked.misses[:, :, chosen],
                    scores=ranked.scores[chosen],
                    bounds=np.searchsorted(ranked.category[chosen], np.arange(first, last + 1)),
                    counted=counted[first:last],
                )
            place = first + found.category, limit, found.area, found.threshold
            precision[place], recall[place], scores[place] = found.precision, found.recall, found.scores
    # no recall at all is reached with the first prediction
    some = np.flatnonzero(np.diff(bounds))
    firsts = np.where(counted[some] > 0, ranked.scores[bounds[some], None], -1.0)
    scores[some, ..., 0] = firsts[:, None, :, None]
    return Curves(precision.transpose(3, 4, 0, 2, 1), recall.transpose(3, 0, 2, 1), scores.transpose(3, 4, 0, 2, 1))


def _chunks(bounds: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Categories to take at once, few enough not to need much memory."""
    first, categories = 0, len(bounds) - 1
    while first < categories:
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + _AT_ONCE, side="right")) - 1)
        yield first, last
        first = last


@dataclass(frozen=True, slots=True)
class Reached:
    """The P curves with at least one hit: all others are 0 throughout.

    Attributes:
        category, area, threshold: (P,) each.
        precision, scores: (P, R), see `Curves`.
        recall: (P,).
    """

    category: npt.NDArray[np.int64]
    area: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.int64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


def reached_curves(
    hits: npt.NDArray[np.bool_],
    misses: npt.NDArray[np.bool_],
    *,
    scores: npt.NDArray[np.float64],
    bounds: npt.NDArray[np.int64],
    counted: npt.NDArray[np.int64],
) -> Reached:
    """The curves of K categories.

    Args:
        hits, misses: (A, T, N) of the predictions of all categories, within each in score order.
        bounds: (K + 1,) where the predictions of each category begin.
        counted: (K, A) annotations that count.
    """
    a, t, n = hits.shape
    flat = hits.reshape(a * t, n)
    true, before = _sums(flat, bounds)
    false, _ = _sums(misses.reshape(a * t, n), bounds)
    best_from_here = true / (false + true + np.spacing(1))
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if first < last:
            backwards = best_from_here[:, first:last][:, ::-1]
            np.maximum.accumulate(backwards, axis=1, out=backwards)

    totals = np.diff(before, axis=1)  # (A * T, K)
    row, category = np.nonzero((totals > 0) & np.repeat(counted.T > 0, t, axis=0))
    area, threshold = np.divmod(row, t)
    count, total = counted[category, area], totals[row, category]
    # each recall point is reached with the prediction that makes the hit it needs, or with the first if it needs none
    kinds, kind = np.unique(count, return_inverse=True)
    needed = np.array([_hits_needed(number) for number in kinds.tolist()], dtype=np.int64)
    needed = needed.reshape(-1, len(RECALL_POINTS))[kind]  # (P, R)
    never = needed > total[:, None]
    in_rows_before = np.cumsum(before[:, -1]) - before[:, -1]
    hit = np.where(never, 0, (in_rows_before[row] + before[row, category])[:, None] + needed - 1)
    start = (row * n + bounds[category])[:, None]
    reached = np.where(never | (needed == 0), start, np.flatnonzero(flat)[hit])
    return Reached(
        category=category,
        area=area,
        threshold=threshold,
        precision=np.where(never, 0.0, best_from_here.ravel()[reached]),
        recall=total / count,
        scores=np.where(never, 0.0, scores[reached - (row * n)[:, None]]),
    )


def _sums(
    marks: npt.NDArray[np.bool_], bounds: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Marks (rows, N) up to each place of its category, and (rows, K + 1) in all categories before each."""
    sums = np.zeros((len(marks), marks.shape[1] + 1), dtype=np.int64)
    np.cumsum(marks, axis=1, out=sums[:, 1:])
    before = sums[:, bounds]
    return sums[:, 1:] - np.repeat(before[:, :-1], np.diff(bounds), axis=1), before


@lru_cache(maxsize=4096)
def _hits_needed(count: int) -> npt.NDArray[np.intp]:
    """(R,) how many of `count` annotations must be found to reach each recall point."""
    return np.searchsorted(np.arange(count + 1) / count, RECALL_POINTS)
