"""Identity switches and fragmentations of annotated tracks, frame by frame as in CLEAR MOT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.groups import Overlaps, frame_ious

_COVERED_IOU = 0.5


@dataclass(frozen=True, slots=True)
class TrackIdentity:
    """How well one annotated track is followed.

    Attributes:
        frames: where it is present.
        covered: those of them where a prediction of its class is assigned to it.
        switches: changes of the assigned prediction from one covered frame to the next covered one.
        fragmentations: times that it was lost, though present, and found again.
    """

    annotation_id: int
    video_id: int
    category_id: int
    frames: int
    covered: int
    switches: int
    fragmentations: int


def follow_identities(
    ground_truth: GroundTruth, overlaps: Overlaps, *, min_score: float = 0.0
) -> tuple[TrackIdentity, ...]:
    """Follows every annotated track (crowds left out) through the predictions of its class that reach `min_score`.

    In each frame a track keeps its prediction while their masks have an IoU of 0.5; the other pairs are assigned by
    IoU, best first, one to one.
    """
    tracks = ground_truth.labelled_tracks
    assigned = {g: np.full(len(track.segmentations), -1, dtype=np.int64) for g, track in enumerate(tracks)}
    for group in overlaps.groups:
        rows = group.predictions[overlaps.predictions.scores[group.predictions] >= min_score]
        columns = group.truths[~ground_truth.crowds[group.truths]]
        if len(rows) and len(columns):
            ious = frame_ious(ground_truth, overlaps.predictions, rows=rows, columns=columns)
            for column, followed in zip(columns.tolist(), _assign(ious).T, strict=True):
                assigned[column] = followed
    return tuple(_summary(ground_truth, g, assigned[g]) for g in range(len(tracks)) if not ground_truth.crowds[g])


def _assign(ious: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """(T, G) the prediction that each track is assigned to in each frame, -1 for none, from (T, D, G) IoUs."""
    length, _, count = ious.shape
    assigned = np.full((length, count), -1, dtype=np.int64)
    last: dict[int, int] = {}
    for frame, table in enumerate(ious):
        good = np.argwhere(table >= _COVERED_IOU)  # few: (prediction, track)
        preference = sorted(good.tolist(), key=lambda pair: (last.get(pair[1]) != pair[0], -table[pair[0], pair[1]]))
        used: set[int] = set()
        for prediction, track in preference:
            if assigned[frame, track] < 0 and prediction not in used:
                assigned[frame, track] = prediction
                used.add(prediction)
                last[track] = prediction
    return assigned


def _summary(ground_truth: GroundTruth, index: int, assigned: npt.NDArray[np.int64]) -> TrackIdentity:
    track = ground_truth.labelled_tracks[index]
    present = ground_truth.mask_areas[index] > 0
    there = assigned[present]
    covered = there[there >= 0]
    found_again = (there[1:] >= 0) & (there[:-1] < 0)
    ever_before = np.maximum.accumulate(there >= 0)[:-1]
    return TrackIdentity(
        annotation_id=track.id,
        video_id=track.video_id,
        category_id=track.category_id,
        frames=int(present.sum()),
        covered=len(covered),
        switches=int(np.count_nonzero(np.diff(covered))),
        fragmentations=int(np.count_nonzero(found_again & ever_before)),
    )
