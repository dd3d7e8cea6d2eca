"""Precision and recall from matches."""

from __future__ import annotations

from dataclasses import dataclass

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
    precision, recall, scores = (np.full(shape, -1.0) for shape in ((t, r, k, a, m), (t, k, a, m), (t, r, k, a, m)))
    bounds = np.searchsorted(ranked.category, np.arange(k + 1))
    for category in range(k):
        present = counted[category] > 0
        if not present.any():
            continue
        block = np.arange(bounds[category], bounds[category + 1])
        for limit, most in enumerate(MAX_DETECTIONS):
            chosen = block[ranked.rank[block] < most]
            values = curve(
                ranked.hits[:, :, chosen][present],
                ranked.misses[:, :, chosen][present],
                scores=ranked.scores[chosen],
                counted=counted[category, present],
            )
            for target, part in zip((precision, recall, scores), values, strict=True):
                target[..., category, present, limit] = np.moveaxis(part, 0, -1)
    return Curves(precision, recall, scores)


def curve(
    hits: npt.NDArray[np.bool_],
    misses: npt.NDArray[np.bool_],
    *,
    scores: npt.NDArray[np.float64],
    counted: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision (A, T, R), recall (A, T) and scores (A, T, R) from (A, T, n) hits and misses in score order."""
    a, t, n = hits.shape
    if n == 0:
        return np.zeros((a, t, len(RECALL_POINTS))), np.zeros((a, t)), np.zeros((a, t, len(RECALL_POINTS)))
    true, false = np.cumsum(hits, axis=-1), np.cumsum(misses, axis=-1)
    raw = true / (false + true + np.spacing(1))
    best_from_here = np.maximum.accumulate(raw[..., ::-1], axis=-1)[..., ::-1]

    # hits needed for each recall point, then the prediction with which they are reached (n: never): the rows are
    # made one ascending sequence, so that a single search serves all of them
    needed = np.stack([np.searchsorted(np.arange(c + 1) / c, RECALL_POINTS) for c in counted])  # (A, R)
    rows = np.arange(a * t).reshape(a, t, 1)
    wanted = rows * (n + 1) + np.minimum(needed, n + 1)[:, None]
    reached = np.searchsorted((rows * (n + 1) + true).ravel(), wanted) - rows * n
    never, reached = reached >= n, np.minimum(reached, n - 1)
    precision = np.where(never, 0.0, np.take_along_axis(best_from_here, reached, axis=-1))
    return precision, true[..., -1] / counted[:, None], np.where(never, 0.0, scores[reached])
