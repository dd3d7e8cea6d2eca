"""Precision and recall from matches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stmask.evaluation.matching import IOU_THRESHOLDS

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = (1, 10, 100)  # per video and category


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
    precision, recall, scores = (np.full(shape, -1.0) for shape in ((k, m, a, t, r), (k, m, a, t), (k, m, a, t, r)))
    bounds = np.searchsorted(ranked.category, np.arange(k + 1))
    for category in range(k):
        present = counted[category] > 0
        if not present.any():
            continue
        block = np.arange(bounds[category], bounds[category + 1])
        values, size = None, -1
        for limit, most in enumerate(MAX_DETECTIONS):
            chosen = block[ranked.rank[block] < most]
            if values is None or len(chosen) != size:  # else no video has that many: the same as with the last limit
                size = len(chosen)
                values = curve(
                    ranked.hits[:, :, chosen][present],
                    ranked.misses[:, :, chosen][present],
                    scores=ranked.scores[chosen],
                    counted=counted[category, present],
                )
            for target, part in zip((precision, recall, scores), values, strict=True):
                target[category, limit, present] = part
    return Curves(precision.transpose(3, 4, 0, 2, 1), recall.transpose(3, 0, 2, 1), scores.transpose(3, 4, 0, 2, 1))


def curve(
    hits: npt.NDArray[np.bool_],
    misses: npt.NDArray[np.bool_],
    *,
    scores: npt.NDArray[np.float64],
    counted: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision (A, T, R), recall (A, T) and scores (A, T, R) from (A, T, n) hits and misses in score order."""
    a, t, n = hits.shape
    points = len(RECALL_POINTS)
    precision, recall, reached_at = np.zeros((a, t, points)), np.zeros((a, t)), np.zeros((a, t, points))
    reached_at[..., 0] = scores[0] if n else 0.0  # no recall at all is reached with the first prediction
    some = hits.any(axis=-1)  # without a hit all is zero, often so at most of the thresholds
    if not some.any():
        return precision, recall, reached_at

    true, false = np.cumsum(hits[some], axis=-1), np.cumsum(misses[some], axis=-1)  # (rows, n)
    raw = true / (false + true + np.spacing(1))
    best_from_here = np.maximum.accumulate(raw[:, ::-1], axis=-1)[:, ::-1].ravel()
    # each recall point is reached with the prediction that makes the hit it needs, or with the first if it needs none
    needed = np.stack([_hits_needed(int(count)) for count in counted])[np.nonzero(some)[0]]  # (rows, R)
    total = true[:, -1:]
    starts = np.arange(len(true))[:, None] * n
    places = np.append(np.flatnonzero(hits[some]), -1)
    never = needed > total
    hit = np.where(never, -1, np.cumsum(total)[:, None] - total + needed - 1)
    reached = np.where(never | (needed == 0), starts, places[hit])
    precision[some] = np.where(never, 0.0, best_from_here[reached])
    recall[some] = true[:, -1] / counted[np.nonzero(some)[0]]
    reached_at[some] = np.where(never, 0.0, scores[reached - starts])
    return precision, recall, reached_at


@lru_cache(maxsize=4096)
def _hits_needed(count: int) -> npt.NDArray[np.intp]:
    """(R,) how many of `count` annotations must be found to reach each recall point."""
    return np.searchsorted(np.arange(count + 1) / count, RECALL_POINTS)
