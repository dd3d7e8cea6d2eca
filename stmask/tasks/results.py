"""Collects the tracked frames of a video, or the instances of an image, into a result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stmask.checkpoints import ModelCard
from stmask.errors import ConfigError
from stmask.signatures import shown
from stmask.structures import RLE, CroppedMasks, ImageInstance, ImageResult, TrackedFrame, TrackResult, VideoResult

ClassVote = Literal["frames", "scores"]


def class_vote_of(card: ModelCard | None) -> ClassVote:
    """How a network's tracks choose their class, as its training run said in `data.task.class_vote`.

    Raises:
        ConfigError: the card says something else than a way.
    """
    task = {} if card is None else card.data.get("task") or {}
    vote = task.get("class_vote", "frames") if isinstance(task, Mapping) else task
    try:
        return require_class_vote(vote)
    except ValueError as error:
        raise ConfigError(f"the checkpoint's data.task: {error}") from error


def require_class_vote(vote: object) -> ClassVote:
    """A way in which the frames of a track choose its class; see `VideoResultBuilder`.

    Raises:
        ValueError: it is something else.
    """
    if vote not in get_args(ClassVote):
        raise ValueError(f"class_vote must be one of {', '.join(get_args(ClassVote))}, got {shown(vote)}")
    return cast(ClassVote, vote)


def encode_masks(masks: CroppedMasks) -> list[RLE]:
    """Run-length encodes masks, each at the size of the whole image."""
    height, width = masks.size
    runs = [
        {"size": [height, width], "counts": _runs(part, corner, masks.size)}
        for part, corner in zip(masks.parts, masks.corners, strict=True)
    ]
    encoded = coco_mask.frPyObjects(runs, height, width) if runs else []
    return [RLE(size=[height, width], counts=rle["counts"].decode("ascii")) for rle in encoded]


def _runs(part: npt.NDArray[np.bool_], corner: tuple[int, int], size: tuple[int, int]) -> list[int]:
    """Lengths of the runs of a mask, which is False outside of a part; column by column, zeros first."""
    (height, width), (top, left), (rows, columns) = size, corner, part.shape
    if not part.any():
        return [height * width]
    gap = int(rows < height)  # a run ends with its column, unless that is a whole one
    flat = np.zeros(columns * (rows + gap) + 2, dtype=np.bool_)  # between two zeros, so that every run has two ends
    flat[1:-1].reshape(columns, rows + gap)[:, :rows] = part.T
    column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), rows + gap)
    ends = (left + column) * height + top + row
    runs: list[int] = np.diff(ends, prepend=0, append=height * width).tolist()
    return runs if runs[-1] or len(runs) == 1 else runs[:-1]


class VideoResultBuilder:
    """Accumulates one video, frame by frame; only encoded masks are kept.

    Args:
        video_id: of the video.
        class_vote: how the frames of a track choose its class: "frames", each counts the same (the release), or
            "scores", each counts as much as it scores.
    """

    def __init__(self, video_id: int, *, class_vote: ClassVote = "frames") -> None:
        self._video_id = video_id
        self._by_scores = class_vote == "scores"
        self._segmentations: dict[int, dict[int, RLE]] = defaultdict(dict)
        self._scores: dict[int, list[float]] = defaultdict(list)
        self._votes: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, tracked: TrackedFrame, masks: CroppedMasks | Sequence[RLE]) -> None:
        """One frame: its instances and their masks at the video's own size, which may be encoded already.

        Raises:
            ValueError: another number of masks, or a track for the second time in a frame.
        """
        if len(masks) != len(tracked):
            raise ValueError(f"{len(tracked)} instances need as many masks, got {len(masks)}")
        if len(tracked) == 0:
            return
        rows = zip(
            tracked.track_ids.tolist(),
            tracked.instances.scores.tolist(),
            tracked.instances.labels.tolist(),
            encode_masks(masks) if isinstance(masks, CroppedMasks) else masks,
            strict=True,
        )
        for track_id, score, label, rle in rows:
            if tracked.frame_index in self._segmentations[track_id]:
                raise ValueError(
                    f"track {track_id} is reported for frame {tracked.frame_index} twice: a tracker gives "
                    "the instances of a frame different ids, and counts its frames from 0 after each reset"
                )
            self._segmentations[track_id][tracked.frame_index] = rle
            self._scores[track_id].append(score)
            self._votes[track_id][label] += score if self._by_scores else 1.0

    def build(self, length: int) -> VideoResult:
        """Of `length` frames. A track has its mean score and the label of most votes (the lowest of equals)."""
        tracks = tuple(
            TrackResult(
                track_id=track_id,
                label=min(self._votes[track_id], key=lambda label: (-self._votes[track_id][label], label)),
                score=float(np.mean(self._scores[track_id])),
                segmentations=tuple(frames.get(t) for t in range(length)),
            )
            for track_id, frames in sorted(self._segmentations.items())
        )
        return VideoResult(self._video_id, length, tracks)


def image_result(image_id: int, found: TrackedFrame, size: tuple[int, int]) -> ImageResult:
    """The result of one image of `size` (height, width) from its N instances."""
    instances = found.instances
    rows = zip(
        instances.labels.tolist(),
        instances.scores.tolist(),
        found.boxes_at(size).tolist(),
        encode_masks(found.cropped_masks_at(size)),
        strict=True,
    )
    return ImageResult(image_id, tuple(ImageInstance(label, score, tuple(box), rle) for label, score, box, rle in rows))
