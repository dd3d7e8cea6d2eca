"""HOTA, the CLEAR metrics of masks (MOTSA, MOTSP, sMOTSA) and the identity metrics (IDF1), as TrackEval computes them.

HOTA is Luiten et al., "HOTA: A higher order metric for evaluating multi-object tracking" (IJCV 2021), MOTSA and its kin
Voigtlaender et al., "MOTS" (CVPR 2019), IDF1 Ristani et al., "Performance measures and a data set" (ECCVW 2016).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from stmask.evaluation.assignment import assign_most
from stmask.evaluation.ground_truth import Category, GroundTruth
from stmask.evaluation.groups import Overlaps, frame_ious, measure
from stmask.evaluation.regions import inside_regions
from stmask.evaluation.results import check_results

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""The 19 IoU thresholds over which HOTA is averaged."""
THRESHOLD = 0.5
"""The IoU at which a mask is found, of the CLEAR and the identity metrics."""
TrackingMetric = Literal[
    "HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA",
    "MOTSA", "MOTSP", "sMOTSA", "recall", "precision", "IDF1", "IDR", "IDP",
]  # fmt: skip
TRACKING_METRICS: tuple[TrackingMetric, ...] = get_args(TrackingMetric)
"""Metrics in [0, 1] (MOTSA and sMOTSA may be below 0)."""
TRACKING_COUNTS = ("TP", "FP", "FN", "IDSW", "Frag", "MT", "PT", "ML", "IDTP", "IDFP", "IDFN")
"""Counts: masks found, wrong and missed, identity switches, fragmentations; tracks mostly (80 %), partly and hardly
(20 %) found; masks with the right identity."""
PARTS = ("tracking_metric",)  # what a checkpoint's card may name
_EPSILON = float(np.finfo(float).eps)


def _per_alpha() -> npt.NDArray[np.float64]:
    return np.zeros(len(ALPHAS))


@dataclass(frozen=True, slots=True)
class TrackingSums:
    """What the metrics are computed from; sums of videos and of classes are sums of these.

    Attributes:
        counts: by the names of `TRACKING_COUNTS`.
        iou: sum of the IoUs of the masks found at `THRESHOLD`.
        hits, misses, wrong: (19,) masks at each of `ALPHAS`.
        location: (19,) sums of the IoUs of the hits.
        association, association_recall, association_precision: (19,) sums over the hits.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TRACKING_COUNTS, 0))
    iou: float = 0.0
    hits: npt.NDArray[np.float64] = field(default_factory=_per_alpha)
    misses: npt.NDArray[np.float64] = field(default_factory=_per_alpha)
    wrong: npt.NDArray[np.float64] = field(default_factory=_per_alpha)
    location: npt.NDArray[np.float64] = field(default_factory=_per_alpha)
    association: npt.NDArray[np.float64] = field(default_factory=_per_alpha)
    association_recall: npt.NDArray[np.float64] = field(default_factory=_per_alpha)
    association_precision: npt.NDArray[np.float64] = field(default_factory=_per_alpha)

    def __add__(self, other: TrackingSums) -> TrackingSums:
        counts = {name: self.counts[name] + other.counts[name] for name in TRACKING_COUNTS}
        names = [one.name for one in fields(self) if one.name != "counts"]
        return TrackingSums(counts, *(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def empty(self) -> bool:
        """Whether there was neither an annotated nor a predicted mask."""
        return not (self.hits + self.misses + self.wrong).any()

    @property
    def metrics(self) -> dict[str, float]:
        """By the names of `TRACKING_METRICS`; 0 (LocA: 1) if nothing is found or nothing is there, as in TrackEval."""
        detection = self.hits / np.maximum(1, self.hits + self.misses + self.wrong)
        association = self.association / np.maximum(1, self.hits)
        values = {
            "HOTA": np.sqrt(detection * association),
            "DetA": detection,
            "AssA": association,
            "DetRe": self.hits / np.maximum(1, self.hits + self.misses),
            "DetPr": self.hits / np.maximum(1, self.hits + self.wrong),
            "AssRe": self.association_recall / np.maximum(1, self.hits),
            "AssPr": self.association_precision / np.maximum(1, self.hits),
            "LocA": np.maximum(1e-10, self.location) / np.maximum(1e-10, self.hits),
        }
        found, wrong, missed, switches = (self.counts[name] for name in ("TP", "FP", "FN", "IDSW"))
        right, of_others, lost = (self.counts[name] for name in ("IDTP", "IDFP", "IDFN"))
        there, predicted = max(1, found + missed), max(1, found + wrong)
        return {name: float(value.mean()) for name, value in values.items()} | {
            "MOTSA": (found - wrong - switches) / there,
            "MOTSP": self.iou / max(1, found),
            "sMOTSA": (self.iou - wrong - switches) / there,
            "recall": found / there,
            "precision": found / predicted,
            "IDF1": right / max(1.0, right + 0.5 * of_others + 0.5 * lost),
            "IDR": right / max(1, right + lost),
            "IDP": right / max(1, right + of_others),
        }


@dataclass(frozen=True, slots=True)
class TrackingReport:
    """The tracking metrics of a results file.

    Attributes:
        categories: by id, and `per_class`, the sums of each.
    """

    categories: tuple[Category, ...]
    per_class: tuple[TrackingSums, ...]

    @property
    def combined(self) -> TrackingSums:
        """All classes' masks together: each counts the same."""
        return sum(self.per_class, TrackingSums())

    @property
    def class_mean(self) -> dict[str, float]:
        """The mean over the classes of which there are annotations or predictions; each class counts the same."""
        rows = [sums.metrics for sums in self.per_class if not sums.empty] or [TrackingSums().metrics]
        return {name: float(np.mean([row[name] for row in rows])) for name in TRACKING_METRICS}

    def as_json(self) -> dict[str, dict[str, float]]:
        """The metrics and counts of all and of each class, by name."""
        rows = {category.name: sums for category, sums in zip(self.categories, self.per_class, strict=True)}
        return {
            "all": self.combined.metrics | self.combined.counts,
            "class mean": self.class_mean,
            **{f"class {name}": sums.metrics | sums.counts for name, sums in rows.items()},
        }


@dataclass(frozen=True, slots=True)
class Frame:
    """The masks of a class in one frame: their tracks' numbers (G,) and (D,), and IoUs (G, D)."""

    truths: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.int64]
    ious: npt.NDArray[np.float64]


def tracking_report(ground_truth: GroundTruth, overlaps: Overlaps, *, min_score: float = 0.0) -> TrackingReport:
    """The tracking metrics, class by class.

    Every track of at least `min_score` takes part with all its masks, of which several may cover a pixel. A mask
    without a pixel is none. What lies for more than half in the crowd regions of its class and is not matched to an
    annotation is left out, as MOTSChallenge does; crowds themselves are not to be found.

    Args:
        overlaps: of `measure`: at most 100 tracks for each video and class.
    """
    categories = ground_truth.sorted_categories
    sums = {category.id: TrackingSums() for category in categories}
    for category_id, rows, columns in _by_video_and_class(ground_truth, overlaps, min_score):
        frames = list(_frames(ground_truth, overlaps, rows=rows, columns=columns))
        sums[category_id] += sequence_sums(frames)
    return TrackingReport(categories, tuple(sums[category.id] for category in categories))


def tracking_metric(
    truth: GroundTruth,
    entries: Sequence[Mapping[str, Any]],
    item_ids: Sequence[int],
    *,
    name: TrackingMetric = "HOTA",
    min_score: float = 0.3,
) -> float:
    """One of `TRACKING_METRICS` over all classes' masks, as a metric of validation and of `stmask evaluate`.

    Args:
        truth: of the split.
        entries: of a results.json, of the videos that were seen.
        item_ids: of these videos.
    """
    seen = truth.only(sorted(item_ids))
    overlaps = measure(seen, check_results(entries, seen))
    return tracking_report(seen, overlaps, min_score=min_score).combined.metrics[name]


def _by_video_and_class(
    ground_truth: GroundTruth, overlaps: Overlaps, min_score: float
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Category, predictions and annotations (crowds too) of every video and class that has any."""
    predictions = overlaps.predictions
    parts: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for column, track in enumerate(ground_truth.labelled_tracks):
        parts.setdefault((track.video_id, track.category_id), ([], []))[1].append(column)
    order = np.argsort(overlaps.entries)  # of the file, for ties
    kept = order[predictions.scores[order] >= min_score]
    keys = zip(predictions.video_ids[kept].tolist(), predictions.category_ids[kept].tolist(), strict=True)
    for row, key in zip(kept.tolist(), keys, strict=True):
        parts.setdefault(key, ([], []))[0].append(row)
    for (_, category_id), (rows, columns) in parts.items():
        yield category_id, np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)


def _frames(
    ground_truth: GroundTruth, overlaps: Overlaps, *, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> Iterator[Frame]:
    crowds = columns[ground_truth.crowds[columns]]
    columns = columns[~ground_truth.crowds[columns]]
    areas, tracks = overlaps.predictions.areas, ground_truth.mask_areas
    everything = [areas[row] for row in rows] + [tracks[column] for column in [*columns, *crowds]]
    there = np.stack(everything, axis=1) > 0  # (T, D + G + crowds)
    ious = np.zeros((len(there), len(rows), len(columns)))
    if len(rows) and len(columns):
        ious = frame_ious(ground_truth, overlaps.predictions, rows=rows, columns=columns)
    for t, present in enumerate(there):
        mine = np.flatnonzero(present[: len(rows)])
        theirs = np.flatnonzero(present[len(rows) : len(rows) + len(columns)])
        table = ious[t].T[np.ix_(theirs, mine)]
        regions = [ground_truth.segmentations[crowd][t] for crowd in crowds[present[len(rows) + len(columns) :]]]
        if regions and len(mine):
            unmatched = _unmatched(table)
            masks = [overlaps.predictions.segmentations[rows[one]][t] for one in mine[unmatched]]
            ignored = unmatched[inside_regions(masks, regions)]
            mine, table = np.delete(mine, ignored), np.delete(table, ignored, axis=1)
        yield Frame(theirs, mine, table)


def _unmatched(ious: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The predictions that no annotation is assigned to."""
    gains = np.where(ious < THRESHOLD - _EPSILON, -10000.0, ious)
    rows, columns = assign_most(gains)
    return np.setdiff1d(np.arange(ious.shape[1]), columns[gains[rows, columns] > _EPSILON])


def sequence_sums(frames: Sequence[Frame]) -> TrackingSums:
    """The sums of one class in one video."""
    truths, predictions = _present(frame.truths for frame in frames), _present(frame.predictions for frame in frames)
    frames = [
        Frame(np.searchsorted(truths, frame.truths), np.searchsorted(predictions, frame.predictions), frame.ious)
        for frame in frames
    ]
    there, given = (np.zeros(len(ids)) for ids in (truths, predictions))
    for frame in frames:
        there[frame.truths] += 1
        given[frame.predictions] += 1
    if not len(truths) or not len(predictions):
        missed, wrong = int(there.sum()), int(given.sum())
        counts = dict.fromkeys(TRACKING_COUNTS, 0)
        counts |= {"FN": missed, "FP": wrong, "IDFN": missed, "IDFP": wrong, "ML": len(truths)}
        return TrackingSums(counts, misses=_per_alpha() + missed, wrong=_per_alpha() + wrong)
    counts, iou = _clear(frames, there)
    right = _right_identities(frames, (len(there), len(given)))
    counts |= {"IDTP": right, "IDFN": int(there.sum()) - right, "IDFP": int(given.sum()) - right}
    return TrackingSums(counts, iou, **_hota(frames, there, given))


def _present(ids: Iterable[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *ids]))
    return found


def _hota(
    frames: Sequence[Frame], there: npt.NDArray[np.float64], given: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    """Hits, misses, wrong masks and the sums over hits; `there` (G,) and `given` (D,) count the masks of tracks."""
    alike = np.zeros((len(there), len(given)))
    for frame in frames:
        denominator = frame.ious.sum(axis=0)[None] + frame.ious.sum(axis=1)[:, None] - frame.ious
        share = np.divide(frame.ious, denominator, out=np.zeros_like(frame.ious), where=denominator > _EPSILON)
        alike[np.ix_(frame.truths, frame.predictions)] += share
    alignment = alike / (there[:, None] + given - alike)
    matched = np.zeros((len(ALPHAS), len(there), len(given)))
    hits, location = _per_alpha(), _per_alpha()
    for frame in frames:
        gains = alignment[np.ix_(frame.truths, frame.predictions)] * frame.ious
        rows, columns = assign_most(gains)
        ious = frame.ious[rows, columns]
        found = ious >= ALPHAS[:, None] - _EPSILON  # (19, pairs)
        hits += found.sum(axis=1)
        location += (found * ious).sum(axis=1)
        matched[:, frame.truths[rows], frame.predictions[columns]] += found
    either = np.maximum(1, there[:, None] + given - matched)
    return {
        "hits": hits,
        "misses": there.sum() - hits,
        "wrong": given.sum() - hits,
        "location": location,
        "association": (matched * (matched / either)).sum(axis=(1, 2)),
        "association_recall": (matched * (matched / np.maximum(1, there)[:, None])).sum(axis=(1, 2)),
        "association_precision": (matched * (matched / np.maximum(1, given))).sum(axis=(1, 2)),
    }


def _clear(frames: Sequence[Frame], there: npt.NDArray[np.float64]) -> tuple[dict[str, int], float]:
    """The counts of the CLEAR metrics and the sum of the IoUs of what is found."""
    counts = dict.fromkeys(TRACKING_COUNTS, 0)
    iou = 0.0
    ever, before = (np.full(len(there), -1, dtype=np.int64) for _ in range(2))  # the last prediction; of the last frame
    followed, begun = np.zeros(len(there)), np.zeros(len(there), dtype=np.int64)
    for frame in frames:
        if not len(frame.truths) or not len(frame.predictions):  # which leaves what was followed before as it is
            counts["FP"] += len(frame.predictions)
            counts["FN"] += len(frame.truths)
            continue
        kept = frame.predictions[None] == before[frame.truths][:, None]
        gains = np.where(frame.ious < THRESHOLD - _EPSILON, 0.0, 1000 * kept + frame.ious)
        rows, columns = assign_most(gains)
        good = gains[rows, columns] > _EPSILON
        rows, columns = rows[good], columns[good]
        truths, predictions = frame.truths[rows], frame.predictions[columns]
        counts["IDSW"] += int(np.count_nonzero((ever[truths] >= 0) & (ever[truths] != predictions)))
        begun[truths] += before[truths] < 0
        followed[truths] += 1
        ever[truths] = predictions
        before[:] = -1
        before[truths] = predictions
        counts["TP"] += len(rows)
        counts["FN"] += len(frame.truths) - len(rows)
        counts["FP"] += len(frame.predictions) - len(rows)
        iou += float(frame.ious[rows, columns].sum())
    shares = followed / there
    counts["MT"] = int(np.count_nonzero(shares > 0.8))
    counts["PT"] = int(np.count_nonzero(shares >= 0.2)) - counts["MT"]
    counts["ML"] = len(there) - counts["MT"] - counts["PT"]
    counts["Frag"] = int((begun[begun > 0] - 1).sum())
    return counts, iou


def _right_identities(frames: Sequence[Frame], size: tuple[int, int]) -> int:
    """IDTP: the masks found if each annotated track is given the prediction that is best for all of them together."""
    shared = np.zeros(size)
    for frame in frames:
        shared[np.ix_(frame.truths, frame.predictions)] += frame.ious >= THRESHOLD
    rows, columns = assign_most(shared)
    return int(shared[rows, columns].sum())
