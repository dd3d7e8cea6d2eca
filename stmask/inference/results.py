"""Collects the tracked frames of a video, or the instances of an image, into a result."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from pycocotools import mask as coco_mask
from torch import Tensor

from stmask.structures import RLE, Detections, ImageInstance, ImageResult, TrackedFrame, TrackResult, VideoResult


def encode_masks(masks: Tensor) -> list[RLE]:
    """Run-length encodes masks (N, h, w) bool."""
    by_column = masks.cpu().transpose(1, 2).contiguous().numpy().astype(np.uint8, copy=False)  # (N, w, h)
    encoded = coco_mask.encode(by_column.T)  # (h, w, N) in Fortran order, as the encoder wants it
    return [RLE(size=[int(n) for n in rle["size"]], counts=rle["counts"].decode("ascii")) for rle in encoded]


class VideoResultBuilder:
    """Adds up one video, frame by frame; only encoded masks are kept."""

    def __init__(self, video_id: int) -> None:
        self._video_id = video_id
        self._segmentations: dict[int, dict[int, RLE]] = defaultdict(dict)
        self._scores: dict[int, list[float]] = defaultdict(list)
        self._labels: dict[int, Counter[int]] = defaultdict(Counter)

    def add(self, tracked: TrackedFrame, masks: Tensor) -> None:
        """One frame: its instances and their masks (N, h, w) bool at the video's own size."""
        if masks.shape[0] != len(tracked):
            raise ValueError(f"{len(tracked)} instances need as many masks, got {masks.shape[0]}")
        if len(tracked) == 0:
            return
        rows = zip(
            tracked.track_ids.tolist(),
            tracked.detections.scores.tolist(),
            tracked.detections.labels.tolist(),
            encode_masks(masks),
            strict=True,
        )
        for track_id, score, label, rle in rows:
            self._segmentations[track_id][tracked.frame_index] = rle
            self._scores[track_id].append(score)
            self._labels[track_id][label] += 1

    def build(self, length: int) -> VideoResult:
        """The result for `length` frames. A track has its mean score and most frequent label (the lowest of equals)."""
        tracks = tuple(
            TrackResult(
                track_id=track_id,
                label=min(self._labels[track_id], key=lambda label: (-self._labels[track_id][label], label)),
                score=float(np.mean(self._scores[track_id])),
                segmentations=tuple(frames.get(t) for t in range(length)),
            )
            for track_id, frames in sorted(self._segmentations.items())
        )
        return VideoResult(self._video_id, length, tracks)


def image_result(image_id: int, detections: Detections, *, boxes_px: Tensor, masks: Tensor) -> ImageResult:
    """The result of one image from its N instances, with their boxes (N, 4) and masks (N, h, w) at the image's size."""
    rows = zip(
        detections.labels.tolist(),
        detections.scores.tolist(),
        boxes_px.tolist(),
        encode_masks(masks) if len(detections) else (),
        strict=True,
    )
    instances = (ImageInstance(label, score, tuple(box), rle) for label, score, box, rle in rows)
    return ImageResult(image_id, tuple(instances))
