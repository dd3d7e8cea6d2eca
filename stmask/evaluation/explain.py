"""The cost of each cause of error: how much AP at IoU 0.5 would rise if it were fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stmask.evaluation.causes import NO_CAUSE, Cause, Causes, find_causes
from stmask.evaluation.curves import reached_curves
from stmask.evaluation.error_groups import group_errors
from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.groups import Overlaps
from stmask.evaluation.matching import TrackMatches


@dataclass(frozen=True, slots=True)
class Share:
    """The errors of one group of tracks, or of all.

    Attributes:
        tracks: annotations in the group, crowds left out.
        found: those of them that were matched.
        false_positives, missed: numbers of errors by cause.
        cost: by cause, how much the AP over all tracks would rise if it were fixed in this group.
    """

    tracks: int
    found: int
    false_positives: Mapping[Cause, int]
    missed: Mapping[Cause, int]
    cost: Mapping[Cause, float]

    def as_json(self) -> dict[str, Any]:
        """The same with the causes by their titles."""
        causes = {
            cause.title: {
                "false_positives": self.false_positives[cause],
                "missed": self.missed[cause],
                "cost": self.cost[cause],
            }
            for cause in Cause
        }
        return {"tracks": self.tracks, "found": self.found, "causes": causes}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where AP at IoU 0.5 is lost.

    Attributes:
        ap50: the AP that is explained, as in the report.
        total: all errors.
        groups: the same by "class", "size", "length" and, where annotations have it, "occlusion"; then by group.
            A false positive belongs to the group of the annotation it was meant for; background to the group of its
            own class, size and length, and to "unknown" for occlusion.
        errors: every false positive and missed track: kind, cause, video_id, category_id, entry of the results,
            id of the annotation, score, IoU.
    """

    ap50: float
    total: Share
    groups: Mapping[str, Mapping[str, Share]]
    errors: tuple[Mapping[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        """The whole explanation, for a JSON file."""
        groups = {
            dimension: {name: share.as_json() for name, share in shares.items()}
            for dimension, shares in self.groups.items()
        }
        return {"ap50": self.ap50, "total": self.total.as_json(), "groups": groups, "errors": list(self.errors)}

    def scalars(self) -> dict[str, float]:
        """Flat numbers for the log of a training run: the cost of each cause and the counts."""
        values: dict[str, float] = {}
        for cause in Cause:
            name = cause.name.lower()
            values[f"cost/{name}"] = self.total.cost[cause]
            values[f"false_positives/{name}"] = self.total.false_positives[cause]
            values[f"missed/{name}"] = self.total.missed[cause]
        return values


def explain(ground_truth: GroundTruth, overlaps: Overlaps, matches: TrackMatches) -> Explanation:
    """One main cause for every error at IoU 0.5, and what each costs.

    To fix a cause means: wrong class, poor mask, poor time span and identity switch make a prediction right if its
    annotation has no match yet (of several the best scored), and take it away otherwise, as they do with duplicates and
    background; missed tracks are no longer expected. Fixing several causes together gains more than the sum.
    """
    causes = find_causes(ground_truth, overlaps, matches)
    recomputed = _Recomputed(ground_truth, overlaps, matches, causes)
    everything = np.ones(len(overlaps.entries), dtype=bool), np.ones(len(causes.found), dtype=bool)
    return Explanation(
        ap50=recomputed.ap,
        total=recomputed.share(*everything),
        groups={
            dimension: {name: recomputed.share(*members) for name, members in groups.items()}
            for dimension, groups in group_errors(ground_truth, overlaps, causes).items()
        },
        errors=tuple(_errors(ground_truth, overlaps, causes)),
    )


class _Recomputed:
    """Recomputes AP with some errors fixed; only the classes affected are computed again."""

    def __init__(self, ground_truth: GroundTruth, overlaps: Overlaps, matches: TrackMatches, causes: Causes) -> None:
        self.causes, self.crowds = causes, ground_truth.crowds
        ids = np.array([category.id for category in ground_truth.sorted_categories], dtype=np.int64)
        self.truth_classes = np.searchsorted(ids, [track.category_id for track in ground_truth.labelled_tracks])
        self.classes = np.searchsorted(ids, overlaps.predictions.category_ids)
        self.scores = overlaps.predictions.scores
        self.hits = (matches.truth[0, 0] >= 0) & ~matches.ignored[0, 0]
        self.misses = causes.of_predictions != NO_CAUSE
        self.wanted = np.bincount(self.truth_classes[~self.crowds], minlength=len(ids))
        touched = np.arange(len(ids))
        self.per_class = self._per_class(touched, self.classes, self.hits, self.misses, self.wanted)
        self.ap = self._mean(self.per_class)

    def share(self, predictions: npt.NDArray[np.bool_], truths: npt.NDArray[np.bool_]) -> Share:
        """The errors among some predictions (N,) and annotations (G,)."""
        truths = truths & ~self.crowds
        wrong = {cause: predictions & (self.causes.of_predictions == cause) for cause in Cause}
        missed = {cause: truths & (self.causes.of_truths == cause) for cause in Cause}
        return Share(
            tracks=int(truths.sum()),
            found=int((truths & self.causes.found).sum()),
            false_positives={cause: int(wrong[cause].sum()) for cause in Cause},
            missed={cause: int(missed[cause].sum()) for cause in Cause},
            cost={
                cause: self._ap_without(missed[cause]) - self.ap
                if cause is Cause.MISSED
                else self._ap_with_fixed(wrong[cause]) - self.ap
                for cause in Cause
            },
        )

    def _ap_with_fixed(self, chosen: npt.NDArray[np.bool_]) -> float:
        causes = self.causes
        eligible = np.flatnonzero(chosen & causes.fixable)
        eligible = eligible[~causes.found[causes.target[eligible]]]
        eligible = eligible[np.argsort(-self.scores[eligible], kind="stable")]
        _, first = np.unique(causes.target[eligible], return_index=True)
        right = eligible[first]
        hits, classes = self.hits.copy(), self.classes.copy()
        hits[right] = True
        classes[right] = self.truth_classes[causes.target[right]]
        touched = np.union1d(self.classes[chosen], classes[right])
        values = self._per_class(touched, classes, hits, self.misses & ~chosen, self.wanted)
        return self._mean({**self.per_class, **values})

    def _ap_without(self, truths: npt.NDArray[np.bool_]) -> float:
        wanted = self.wanted - np.bincount(self.truth_classes[truths], minlength=len(self.wanted))
        touched = np.unique(self.truth_classes[truths])
        values = self._per_class(touched, self.classes, self.hits, self.misses, wanted)
        return self._mean({**self.per_class, **values})

    def _per_class(
        self,
        touched: npt.NDArray[Any],
        classes: npt.NDArray[Any],
        hits: npt.NDArray[np.bool_],
        misses: npt.NDArray[np.bool_],
        wanted: npt.NDArray[np.int64],
    ) -> dict[int, float]:
        """AP of classes that have annotations; 1 where all were missed and none is left to be found."""
        values = {}
        for k in touched.tolist():
            if self.wanted[k]:
                chosen = np.flatnonzero(classes == k)
                chosen = chosen[np.argsort(-self.scores[chosen], kind="stable")]
                values[k] = _average_precision(hits[chosen], misses[chosen], int(wanted[k])) if wanted[k] else 1.0
        return values

    @staticmethod
    def _mean(per_class: Mapping[int, float]) -> float:
        return float(np.mean(list(per_class.values()))) if per_class else -1.0


def _average_precision(hits: npt.NDArray[np.bool_], misses: npt.NDArray[np.bool_], wanted: int) -> float:
    reached = reached_curves(
        hits[None, None],
        misses[None, None],
        scores=np.zeros(len(hits)),
        bounds=np.array([0, len(hits)]),
        counted=np.array([[wanted]]),
    )
    return float(reached.precision.mean()) if len(reached.precision) else 0.0


def _errors(ground_truth: GroundTruth, overlaps: Overlaps, causes: Causes) -> list[dict[str, Any]]:
    tracks, predictions = ground_truth.labelled_tracks, overlaps.predictions
    errors: list[dict[str, Any]] = []
    for i in np.flatnonzero(causes.of_predictions != NO_CAUSE).tolist():
        target = int(causes.target[i])
        errors.append(
            {
                "kind": "false positive",
                "cause": Cause(causes.of_predictions[i]).title,
                "video_id": int(predictions.video_ids[i]),
                "category_id": int(predictions.category_ids[i]),
                "entry": int(overlaps.entries[i]),
                "annotation_id": tracks[target].id if target >= 0 else None,
                "score": float(predictions.scores[i]),
                "iou": float(causes.overlap[i]),
            }
        )
    for g in np.flatnonzero(causes.of_truths != NO_CAUSE).tolist():
        errors.append(
            {
                "kind": "missed track",
                "cause": Cause(causes.of_truths[g]).title,
                "video_id": tracks[g].video_id,
                "category_id": tracks[g].category_id,
                "entry": None,
                "annotation_id": tracks[g].id,
                "score": None,
                "iou": float(causes.overlap[causes.target == g].max(initial=0.0)),
            }
        )
    return errors
