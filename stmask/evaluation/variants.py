"""Variants of AP for the same results: AP of single frames, and boundary AP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stmask.evaluation.ground_truth import GroundTruth, TruthTrack, Video
from stmask.evaluation.groups import measure
from stmask.evaluation.matching import IOU_THRESHOLDS, Group
from stmask.evaluation.overlap import TrackAreas, intersections, pack_checked, track_ious
from stmask.evaluation.results import Predictions
from stmask.evaluation.video_ap import VideoAPReport, assign, evaluate, summarise
from stmask.formats.runs import decode_mask

if TYPE_CHECKING:
    from stmask.structures import RLE

_BOUNDARY_WIDTH = 0.02  # of the image diagonal, as in Boundary IoU


def frame_ap(ground_truth: GroundTruth, predictions: Predictions) -> VideoAPReport:
    """Mask AP of single frames: the detector without its tracking. Each frame is scored as a video of its own.

    A track's score is that of all its masks. Sizes are those of the masks, with the bounds of video AP.
    """
    first = dict(
        zip(ground_truth.videos, np.cumsum([0, *(v.length for v in ground_truth.videos.values())]), strict=False)
    )
    frames = {
        int(first[video.id]) + t: Video(int(first[video.id]) + t, video.width, video.height, 1)
        for video in ground_truth.videos.values()
        for t in range(video.length)
    }
    tracks = tuple(
        TruthTrack(track.id, int(first[track.video_id]) + t, track.category_id, track.is_crowd, masks[t : t + 1], None)
        for track, masks in zip(ground_truth.labelled_tracks, ground_truth.segmentations, strict=True)
        for t in masks.frames()
    )
    present = [(i, t) for i, masks in enumerate(predictions.segmentations) for t in masks.frames()]
    rows, times = np.array(present, dtype=np.int64).reshape(-1, 2).T
    starts = np.array([first[video_id] for video_id in predictions.video_ids.tolist()], dtype=np.int64)
    single = Predictions(
        video_ids=starts[rows] + times,
        category_ids=predictions.category_ids[rows],
        scores=predictions.scores[rows],
        segmentations=[predictions.segmentations[i][t : t + 1] for i, t in present],
        areas=TrackAreas(predictions.areas.per_frame[predictions.areas.starts[rows] + times], np.arange(len(rows) + 1)),
    )
    return evaluate(GroundTruth(frames, ground_truth.categories, tracks, ground_truth.source), single)


def boundary_ap(ground_truth: GroundTruth, predictions: Predictions) -> VideoAPReport:
    """Video AP where a pair's IoU is the smaller of mask IoU and boundary IoU (Cheng et al., CVPR 2021).

    The boundary of a mask is what lies within 2 % of the image diagonal of its outline; intersections and unions of
    boundaries are summed over the frames as those of masks are.
    """
    overlaps = measure(ground_truth, predictions)
    groups = [_at_most_boundary(ground_truth, overlaps.predictions, group) for group in overlaps.groups]
    overlaps = replace(overlaps, groups=groups)
    return summarise(ground_truth, overlaps, assign(ground_truth, overlaps))


def _at_most_boundary(ground_truth: GroundTruth, predictions: Predictions, group: Group) -> Group:
    rows = np.flatnonzero((group.ious >= IOU_THRESHOLDS[0]).any(axis=1))  # nothing else can match
    if not len(rows):
        return group
    tracks = ground_truth.labelled_tracks
    ours = [_boundaries(predictions.segmentations[row]) for row in group.predictions[rows]]
    theirs = [_boundaries(ground_truth.segmentations[column]) for column in group.truths]
    size = ground_truth.videos[tracks[group.truths[0]].video_id].size
    (first, areas), (second, others) = (pack_checked(side, [size] * len(side)) for side in (ours, theirs))
    shared = intersections(first, second).sum(axis=0)
    ious: npt.NDArray[np.float64] = group.ious.copy()
    ious[rows] = np.minimum(ious[rows], track_ious(shared, areas.totals(), others.totals()))
    return replace(group, ious=ious)


def _boundaries(masks: Sequence[RLE | None]) -> list[RLE | None]:
    return [None if mask is None else _boundary(mask["counts"], *mask["size"]) for mask in masks]


def _boundary(counts: str, height: int, width: int) -> RLE:
    """The part of a mask that an erosion by the boundary's width removes; the image border counts as outline."""
    mask = decode_mask(counts, height, width)
    steps = max(1, round(_BOUNDARY_WIDTH * float(np.hypot(height, width))))
    encoded = coco_mask.encode(np.asfortranarray(mask & ~_eroded(mask, steps)))
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def _eroded(mask: npt.NDArray[np.uint8], steps: int) -> npt.NDArray[np.uint8]:
    """The pixels around which a square of 2 * steps + 1 pixels lies in the mask, (h, w) of 0 and 1."""
    eroded, side = np.zeros_like(mask), 2 * steps + 1
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return eroded
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    part = mask[box]
    for axis in (0, 1):
        padded = np.pad(part, [(steps + 1, steps) if one == axis else (0, 0) for one in (0, 1)])
        sums = np.moveaxis(np.cumsum(padded, axis=axis, dtype=np.int32), axis, 0)
        part = np.moveaxis((sums[side:] - sums[:-side] == side).astype(np.uint8), 0, axis)
    eroded[box] = part
    return eroded
