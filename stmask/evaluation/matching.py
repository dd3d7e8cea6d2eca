"""Greedy matching of predicted to annotated tracks, for all groups, area ranges and thresholds at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# bounds of the mean area in pixels, both included; other than COCO's
AREA_RANGES = {"all": (0.0, 1e10), "small": (0.0, 128.0**2), "medium": (128.0**2, 256.0**2), "large": (256.0**2, 1e10)}


@dataclass(frozen=True, slots=True)
class Group:
    """The predictions and annotations of one category in one video.

    Attributes:
        predictions: (D,) indices of predictions, best score first.
        truths: (G,) indices of annotations in file order.
        ious: (D, G).
    """

    predictions: npt.NDArray[np.int64]
    truths: npt.NDArray[np.int64]
    ious: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrackMatches:
    """For A area ranges, T thresholds and N predictions.

    Attributes:
        truth: (A, T, N) index of the matched annotation, -1 without one.
        ignored: (A, T, N) whether that annotation is ignored in the range (a crowd, or of another size).
    """

    truth: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.bool_]


def outside_ranges(areas: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(A, N): whether tracks with mean areas (N,) are outside each area range."""
    lower, upper = np.array(list(AREA_RANGES.values())).T[:, :, None]
    outside: npt.NDArray[np.bool_] = (areas < lower) | (areas > upper)
    return outside


def match(
    groups: Sequence[Group], *, count: int, ignored: npt.NDArray[np.bool_], crowd: npt.NDArray[np.bool_]
) -> TrackMatches:
    """Matches each group's predictions in score order to its annotations.

    A prediction takes the free annotation of the largest IoU that reaches the threshold, the last in file order among
    equals; annotations that count come before ignored ones, and a crowd is never used up. The groups advance in
    parallel: step r matches the r-th eligible prediction of every group that has one.

    Args:
        count: N, the number of predictions.
        ignored: (A, all annotations) whether an annotation does not count in an area range.
        crowd: (all annotations,).
    """
    n_areas, n_thresholds = len(AREA_RANGES), len(IOU_THRESHOLDS)
    truth = np.full((n_areas, n_thresholds, count), -1, dtype=np.int64)
    to_ignored = np.zeros((n_areas, n_thresholds, count), dtype=bool)
    padded = _pad(groups)
    if padded is None:
        return TrackMatches(truth, to_ignored)
    ious, predictions, truths = padded

    ignorable = ignored[:, truths].swapaxes(0, 1)[:, :, None]  # (n, A, 1, G)
    reusable = crowd[truths][:, None, None]  # (n, 1, 1, G)
    taken = np.zeros((len(truths), n_areas, n_thresholds, truths.shape[1]), dtype=bool)
    for step in range(predictions.shape[1]):
        n = np.count_nonzero(predictions[:, step] >= 0)  # groups are sorted: those that continue come first
        iou = ious[:n, step, None, None]
        free = (iou >= IOU_THRESHOLDS[:, None]) & (reusable[:n] | ~taken[:n])
        counting = free & ~ignorable[:n]
        eligible = np.where(counting.any(axis=-1, keepdims=True), counting, free)
        best = _last_argmax(np.where(eligible, iou, -1.0))[..., None]  # (n, A, T, 1)
        found = np.take_along_axis(eligible, best, axis=-1)
        np.put_along_axis(taken[:n], best, found | np.take_along_axis(taken[:n], best, axis=-1), axis=-1)
        rows = predictions[:n, step]
        matched = np.take_along_axis(truths[:n, None, None], best, axis=-1)
        unwanted = np.take_along_axis(ignorable[:n], best, axis=-1)
        truth[..., rows] = np.moveaxis(np.where(found, matched, -1)[..., 0], 0, -1)
        to_ignored[..., rows] = np.moveaxis((found & unwanted)[..., 0], 0, -1)
    return TrackMatches(truth, to_ignored)


def _pad(
    groups: Sequence[Group],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """IoUs (n, R, G), predictions (n, R) with -1 and annotations (n, G) with 0 as padding; most predictions first.

    Only predictions that reach the lowest threshold somewhere are kept: no other can match. None if there are none.
    """
    kept = [(group, np.flatnonzero((group.ious >= IOU_THRESHOLDS[0]).any(axis=1))) for group in groups]
    kept = sorted((pair for pair in kept if len(pair[1])), key=lambda pair: -len(pair[1]))
    if not kept:
        return None
    rows, columns = len(kept[0][1]), max(len(group.truths) for group, _ in kept)
    ious = np.zeros((len(kept), rows, columns))
    predictions = np.full((len(kept), rows), -1, dtype=np.int64)
    truths = np.zeros((len(kept), columns), dtype=np.int64)
    for index, (group, eligible) in enumerate(kept):
        ious[index, : len(eligible), : len(group.truths)] = group.ious[eligible]
        predictions[index, : len(eligible)] = group.predictions[eligible]
        truths[index, : len(group.truths)] = group.truths
    return ious, predictions, truths


def _last_argmax(values: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    last: npt.NDArray[np.intp] = values.shape[-1] - 1 - np.argmax(values[..., ::-1], axis=-1)
    return last
