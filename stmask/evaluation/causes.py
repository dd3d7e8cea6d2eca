"""Why a predicted track is false and why an annotated track is missed: one main cause each, at IoU 0.5.

In the spirit of TIDE (Bolya et al., ECCV 2020), with what a track can do wrong beyond a box.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.groups import Overlaps
from stmask.evaluation.matching import TrackMatches
from stmask.evaluation.overlap import intersections, track_ious

FOREGROUND_IOU = 0.5  # the threshold that makes tracks right or wrong here
BACKGROUND_IOU = 0.1  # below it a prediction has nothing to do with an annotation (the value of TIDE)


class Cause(IntEnum):
    """The main causes, in the order in which they are reported."""

    WRONG_CLASS = 0
    POOR_MASK = 1
    POOR_TIME_SPAN = 2
    IDENTITY_SWITCH = 3
    DUPLICATE = 4
    BACKGROUND = 5
    MISSED = 6

    @property
    def title(self) -> str:
        """Its name in tables and plots."""
        return self.name.lower().replace("_", " ")


NO_CAUSE = -1


@dataclass(frozen=True, slots=True)
class Causes:
    """The errors among N ranked predictions (order of `Overlaps`) and G annotations.

    Attributes:
        of_predictions: (N,) the cause of each false positive, `NO_CAUSE` for hits and ignored predictions.
        target: (N,) the annotation that a false positive was meant for, -1 for background.
        overlap: (N,) its IoU with that annotation.
        fixable: (N,) whether the false positive would be right, if its cause were fixed and its target still free.
        of_truths: (G,) the cause of each missed annotation, that of the best overlapping false positive meant for it or
            `MISSED` without any; `NO_CAUSE` for those found and for crowds.
        found: (G,) whether it is matched.
    """

    of_predictions: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    overlap: npt.NDArray[np.float64]
    fixable: npt.NDArray[np.bool_]
    of_truths: npt.NDArray[np.int64]
    found: npt.NDArray[np.bool_]


def find_causes(ground_truth: GroundTruth, overlaps: Overlaps, matches: TrackMatches) -> Causes:
    """The main cause of every false positive and of every missed annotation."""
    n, tracks = len(overlaps.entries), ground_truth.labelled_tracks
    causes = Causes(
        of_predictions=np.full(n, NO_CAUSE, dtype=np.int64),
        target=np.full(n, -1, dtype=np.int64),
        overlap=np.zeros(n),
        fixable=np.zeros(n, dtype=bool),
        of_truths=np.full(len(tracks), NO_CAUSE, dtype=np.int64),
        found=np.isin(np.arange(len(tracks)), matches.truth[0, 0]),  # all areas, the lowest threshold
    )
    false = matches.truth[0, 0] < 0
    causes.of_predictions[false] = Cause.BACKGROUND
    truth_videos = np.array([track.video_id for track in tracks], dtype=np.int64)
    for video_id in ground_truth.videos:
        rows = np.flatnonzero(false & (overlaps.predictions.video_ids == video_id))
        columns = np.flatnonzero((truth_videos == video_id) & ~ground_truth.crowds)
        if len(rows) and len(columns):
            _explain_video(causes, ground_truth, overlaps, rows=rows, columns=columns)
    _explain_missed(causes, ground_truth.crowds)
    return causes


def _explain_video(
    causes: Causes,
    ground_truth: GroundTruth,
    overlaps: Overlaps,
    *,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
) -> None:
    predictions, tracks = overlaps.predictions, ground_truth.labelled_tracks
    own = np.stack([predictions.areas[row] for row in rows], axis=1)[:, :, None]  # (T, D, 1)
    their = np.stack([ground_truth.mask_areas[column] for column in columns], axis=1)[:, None]  # (T, 1, G)
    shared = intersections(
        [predictions.segmentations[row] for row in rows],
        [ground_truth.segmentations[column] for column in columns],
    )
    ious = track_ious(shared.sum(axis=0), own.sum(axis=0)[:, 0], their.sum(axis=0)[0])
    classes = np.array([tracks[column].category_id for column in columns])
    same = predictions.category_ids[rows][:, None] == classes
    best_same, best_other = np.where(same, ious, 0.0), np.where(same, 0.0, ious)

    each = np.arange(len(rows))
    for_same, for_other = best_same.argmax(axis=1), best_other.argmax(axis=1)
    iou_same, iou_other = best_same[each, for_same], best_other[each, for_other]
    conditions = [
        iou_same >= FOREGROUND_IOU,
        iou_other >= FOREGROUND_IOU,
        iou_same >= BACKGROUND_IOU,
        iou_other >= BACKGROUND_IOU,
    ]
    spatial = _localisation_cause(shared, own, their, for_same)
    wrong = np.full(len(rows), Cause.WRONG_CLASS)
    causes.of_predictions[rows] = np.select(
        conditions, [np.full(len(rows), Cause.DUPLICATE), wrong, spatial, wrong], Cause.BACKGROUND
    )
    column = np.select(conditions, [for_same, for_other, for_same, for_other], 0)
    meant = np.logical_or.reduce(conditions)
    causes.target[rows] = np.where(meant, columns[column], -1)
    causes.overlap[rows] = np.where(meant, ious[each, column], 0.0)
    # wrong class and also badly placed: fixing the class alone doesn't help
    causes.fixable[rows] = np.select(conditions, [False, True, True, False], False)


def _localisation_cause(
    shared: npt.NDArray[np.int64],
    own: npt.NDArray[np.int64],
    their: npt.NDArray[np.int64],
    target: npt.NDArray[np.intp],
) -> npt.NDArray[np.int64]:
    """(D,) what is wrong with predictions that overlap their targets, columns of G, too little.

    An identity switch: some frames show the target, others another annotation, each with an IoU of 0.5. A poor time
    span: where both are present, the masks are good enough. Otherwise a poor mask.
    """
    union = own + their - shared
    good = shared >= FOREGROUND_IOU * np.maximum(union, 1)  # (T, D, G)
    on_target = np.take_along_axis(good, target[None, :, None], axis=2)[..., 0]  # (T, D)
    on_another = good.any(axis=2) & ~on_target
    both = (own > 0) & (their > 0)
    each = np.arange(len(target))
    shared_there, union_there = (np.where(both, x, 0).sum(axis=0)[each, target] for x in (shared, union))
    in_time = shared_there >= FOREGROUND_IOU * np.maximum(union_there, 1)
    switched = on_target.any(axis=0) & on_another.any(axis=0)
    return np.select([switched, in_time], [Cause.IDENTITY_SWITCH, Cause.POOR_TIME_SPAN], Cause.POOR_MASK)


def _explain_missed(causes: Causes, crowds: npt.NDArray[np.bool_]) -> None:
    missed = ~causes.found & ~crowds
    causes.of_truths[missed] = Cause.MISSED
    meant = np.flatnonzero(causes.target >= 0)
    ascending = meant[np.argsort(causes.overlap[meant], kind="stable")]  # the last assignment, the best, stays
    targets = causes.target[ascending]
    open_ = missed[targets]
    causes.of_truths[targets[open_]] = causes.of_predictions[ascending[open_]]
