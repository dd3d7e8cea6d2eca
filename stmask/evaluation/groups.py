"""Ranks predicted tracks, and computes their overlaps with the annotated ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stmask.evaluation.curves import MAX_DETECTIONS
from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.matching import Group
from stmask.evaluation.overlap import intersections, pair_ious
from stmask.evaluation.results import Predictions
from stmask.formats.packed import shared_pixels


@dataclass(frozen=True, slots=True)
class Overlaps:
    """The predictions that take part, ranked, with their areas and their IoUs with the annotations.

    Attributes:
        predictions: N tracks, at most 100 per video and category, sorted by category, score (best first), video id and
            place in the file. All later indices of predictions refer to this order.
        entries: (N,) position of each in the file.
        rank: (N,) rank of each among the predictions of its video and category, from 0.
        groups: the videos and categories that have both predictions and annotations.
    """

    predictions: Predictions
    entries: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    groups: list[Group]


def measure(ground_truth: GroundTruth, predictions: Predictions) -> Overlaps:
    """Ranks the predictions, and compares those that share their video and category with an annotation."""
    tracks = ground_truth.labelled_tracks
    entries, rank = _ranking(predictions)
    ranked = predictions.take(entries)
    truths = _by_group((track.video_id, track.category_id) for track in tracks)
    rows = _by_group(zip(ranked.video_ids.tolist(), ranked.category_ids.tolist(), strict=True))
    pairs = [(rows[key], truths[key]) for key in rows if key in truths]
    lengths = [ground_truth.videos[tracks[their[0]].video_id].length for _, their in pairs]
    shared = shared_pixels(
        [ranked.segmentations[row] for own, _ in pairs for row in own],
        [ground_truth.segmentations[column] for _, their in pairs for column in their],
        np.array([(len(own), len(their), t) for (own, their), t in zip(pairs, lengths, strict=True)]).reshape(-1, 3),
        per_frame=False,
    )
    first, second = ranked.areas.totals().tolist(), ground_truth.mask_areas.totals().tolist()
    areas = [(first[row], second[column]) for own, their in pairs for row in own for column in their]
    ious = pair_ious(shared, *np.array(areas, dtype=np.int64).reshape(-1, 2).T)
    mine, theirs = (np.array([i for pair in pairs for i in pair[side]], dtype=np.int64) for side in (0, 1))
    groups, done = [], (0, 0, 0)
    for own, their in pairs:
        end = done[0] + len(own), done[1] + len(their), done[2] + len(own) * len(their)
        table = ious[done[2] : end[2]].reshape(len(own), len(their))
        groups.append(Group(mine[done[0] : end[0]], theirs[done[1] : end[1]], table))
        done = end
    return Overlaps(ranked, entries, rank, groups)


def frame_ious(
    ground_truth: GroundTruth, predictions: Predictions, *, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """(T, D, G) IoUs of the masks of D predictions and G annotations of a video in each frame, D and G >= 1."""
    own = [predictions.areas[row] for row in rows]
    their = np.stack([ground_truth.mask_areas[column] for column in columns], axis=1)[:, None]
    shared = intersections(
        [predictions.segmentations[row] for row in rows], [ground_truth.segmentations[column] for column in columns]
    )
    ious: npt.NDArray[np.float64] = shared / np.maximum(np.stack(own, axis=1)[:, :, None] + their - shared, 1)
    return ious


def _ranking(predictions: Predictions) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Entries that take part, in the order of `Overlaps`, and their rank within video and category."""
    videos, categories, scores = predictions.video_ids, predictions.category_ids, predictions.scores
    order = np.lexsort((-scores, categories, videos))  # stable, so ties keep the order of the file
    rank = np.arange(len(order))
    begins = np.diff(videos[order], prepend=-1).astype(bool) | np.diff(categories[order], prepend=-1).astype(bool)
    rank -= np.maximum.accumulate(np.where(begins, rank, 0))
    order, rank = order[rank < MAX_DETECTIONS[-1]], rank[rank < MAX_DETECTIONS[-1]]
    final = np.lexsort((order, videos[order], -scores[order], categories[order]))
    return order[final], rank[final]


def _by_group(keys: Iterable[tuple[int, int]]) -> dict[tuple[int, int], list[int]]:
    """Positions by video and category, in order."""
    positions: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        positions[key].append(position)
    return positions
