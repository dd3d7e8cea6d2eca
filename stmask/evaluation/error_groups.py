"""Groups errors by class, size, track length and occlusion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from stmask.evaluation.causes import Causes
from stmask.evaluation.ground_truth import GroundTruth, TruthTrack
from stmask.evaluation.groups import Overlaps
from stmask.evaluation.matching import AREA_RANGES, outside_ranges

_LENGTHS = {"up to 8 frames": 8, "9 to 16 frames": 16, "over 16 frames": np.inf}  # frames where the track is present
_OCCLUSIONS = ("no_occlusion", "slight_occlusion", "severe_occlusion")  # as OVIS names them
_UNKNOWN = "unknown"
Members = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]  # of predictions (N,) and annotations (G,)


def group_errors(ground_truth: GroundTruth, overlaps: Overlaps, causes: Causes) -> dict[str, dict[str, Members]]:
    """Which predictions and annotations belong to each class, size, length and, where annotated, occlusion.

    A false positive belongs with the annotation it was meant for, other predictions by their own class, size, length.
    """
    tracks, predictions = ground_truth.labelled_tracks, overlaps.predictions
    names = {category.id: category.name for category in ground_truth.categories}
    values: dict[str, tuple[list[str], list[str]]] = {
        "class": (
            [names[category_id] for category_id in predictions.category_ids.tolist()],
            [names[track.category_id] for track in tracks],
        ),
        "size": (_sizes(predictions.areas.means()), _sizes(ground_truth.areas)),
        "length": (_lengths(predictions.areas.presences()), _lengths(ground_truth.mask_areas.presences())),
    }
    if any(track.occlusion is not None for track in tracks):
        values["occlusion"] = ([_UNKNOWN] * len(predictions), [_occlusion(track) for track in tracks])
    groups = {}
    for dimension, (own, of_truths) in values.items():
        truth_groups = np.array(of_truths, dtype=object)
        meant = causes.target >= 0
        prediction_groups = np.array(own, dtype=object)
        if len(truth_groups):
            prediction_groups[meant] = truth_groups[causes.target[meant]]
        order: Callable[[str], Any] = _order(dimension)
        present = sorted({*prediction_groups.tolist(), *truth_groups.tolist()}, key=order)
        groups[dimension] = {name: (prediction_groups == name, truth_groups == name) for name in present}
    return groups


def _order(dimension: str) -> Callable[[str], Any]:
    known = {"size": list(AREA_RANGES), "length": list(_LENGTHS), "occlusion": [*_OCCLUSIONS, _UNKNOWN]}.get(dimension)
    return known.index if known else str


def _sizes(areas: npt.NDArray[np.float64]) -> list[str]:
    names = list(AREA_RANGES)[1:]
    return [names[index] for index in np.argmin(outside_ranges(areas)[1:], axis=0)]


def _lengths(frames: npt.NDArray[np.int64]) -> list[str]:
    names = list(_LENGTHS)
    return [names[index] for index in np.searchsorted(list(_LENGTHS.values()), frames)]


def _occlusion(track: TruthTrack) -> str:
    """The most frequent degree over the frames; on a tie, the heavier."""
    degrees = [degree for degree in track.occlusion or () if degree in _OCCLUSIONS]
    return max(reversed(_OCCLUSIONS), key=degrees.count) if degrees else _UNKNOWN
