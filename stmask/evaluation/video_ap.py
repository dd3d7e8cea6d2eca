"""Video average precision: checked ground truth and results in, the 12 official metrics out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stmask.evaluation.curves import MAX_DETECTIONS, Curves, Ranked, accumulate
from stmask.evaluation.ground_truth import Category, GroundTruth
from stmask.evaluation.groups import Overlaps, measure
from stmask.evaluation.matching import AREA_RANGES, TrackMatches, match, outside_ranges
from stmask.evaluation.results import Predictions, check_results

_AREAS = {"S": "small", "M": "medium", "L": "large"}
MASK_METRICS = ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR100", "ARS", "ARM", "ARL")
"""Names of the 12 official metrics, in the official order."""


@dataclass(frozen=True, slots=True)
class ClassReport:
    """The metrics of one category and the counts behind them."""

    category: Category
    stats: dict[str, float]
    tracks: int
    predictions: int


@dataclass(frozen=True)
class VideoAPReport:
    """The result of video AP.

    Attributes:
        stats: the 12 official metrics in [0, 1] by name, in the order of `MASK_METRICS`; -1 where a metric is undefined
            (no annotated track counts towards it), as in the official evaluator.
        categories: by id, the class axis of `curves`.
        curves: the full precision, recall and score arrays.
        tracks, predictions: (K,) annotated tracks (crowds left out) and predictions of each category.
    """

    stats: dict[str, float]
    categories: tuple[Category, ...]
    curves: Curves
    tracks: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.int64]

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """(thresholds, recall points, categories, area ranges, detection limits), see `Curves`."""
        return self.curves.precision

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """(thresholds, categories, area ranges, detection limits), see `Curves`."""
        return self.curves.recall

    @property
    def per_class(self) -> tuple[ClassReport, ...]:
        """The metrics of each category on its own, by category id."""
        return tuple(
            ClassReport(
                category, curve_metrics(self.curves, slice(k, k + 1)), int(self.tracks[k]), int(self.predictions[k])
            )
            for k, category in enumerate(self.categories)
        )


def curve_metrics(curves: Curves, categories: slice = slice(None)) -> dict[str, float]:
    """The 12 metrics over some of the categories; -1 where undefined."""
    area = {name: index for index, name in enumerate(AREA_RANGES)}
    limit = {most: index for index, most in enumerate(MAX_DETECTIONS)}
    precision, recall = curves.precision[:, :, categories], curves.recall[:, categories]
    everything = precision[..., area["all"], limit[100]]
    values = {"AP": everything, "AP50": everything[0], "AP75": everything[5]}
    values |= {f"AP{letter}": precision[..., area[name], limit[100]] for letter, name in _AREAS.items()}
    values |= {f"AR{most}": recall[..., area["all"], limit[most]] for most in MAX_DETECTIONS}
    values |= {f"AR{letter}": recall[..., area[name], limit[100]] for letter, name in _AREAS.items()}
    return {name: _mean_of_defined(values[name]) for name in MASK_METRICS}


def _mean_of_defined(values: npt.NDArray[np.float64]) -> float:
    defined = values[values > -1]
    return float(np.mean(defined)) if defined.size else -1.0


def evaluate(ground_truth: GroundTruth, results: Sequence[Mapping[str, Any]] | Predictions) -> VideoAPReport:
    """Scores results against the ground truth, exactly as the official YouTube-VIS evaluator does.

    Annotated crowds are neither hits nor misses, and an annotation with id 0 is matched like any other. Ties of scores
    keep the order of video ids, then of the entries.

    Args:
        results: the entries of a results.json (checked here), or what `check_results` made of them.

    Raises:
        DataError: the ground truth has no annotations, or an entry of the results is wrong.
    """
    predictions = results if isinstance(results, Predictions) else check_results(results, ground_truth)
    overlaps = measure(ground_truth, predictions)
    return summarise(ground_truth, overlaps, assign(ground_truth, overlaps))


def assign(ground_truth: GroundTruth, overlaps: Overlaps) -> TrackMatches:
    """Matches the predictions to the annotations at all thresholds and area ranges."""
    ignored = ground_truth.crowds | outside_ranges(ground_truth.areas)
    return match(overlaps.groups, count=len(overlaps.entries), ignored=ignored, crowd=ground_truth.crowds)


def summarise(ground_truth: GroundTruth, overlaps: Overlaps, matches: TrackMatches) -> VideoAPReport:
    """Precision, recall and the metrics from matched predictions."""
    ids = np.array([category.id for category in ground_truth.sorted_categories], dtype=np.int64)
    classes = np.searchsorted(ids, [track.category_id for track in ground_truth.labelled_tracks])
    counts = ~(ground_truth.crowds | outside_ranges(ground_truth.areas))  # (A, annotations)
    counted = np.stack([np.bincount(classes[row], minlength=len(ids)) for row in counts], axis=1)

    matched = matches.truth >= 0
    ranked = Ranked(
        category=np.searchsorted(ids, overlaps.predictions.category_ids),
        scores=overlaps.predictions.scores,
        rank=overlaps.rank,
        hits=matched & ~matches.ignored,
        misses=~matched & ~outside_ranges(overlaps.predictions.areas.means())[:, None],
    )
    curves = accumulate(ranked, counted)
    return VideoAPReport(
        stats=curve_metrics(curves),
        categories=ground_truth.sorted_categories,
        curves=curves,
        tracks=counted[:, 0],
        predictions=np.bincount(ranked.category, minlength=len(ids)),
    )
