"""Frame pairs for training: a reference frame and a target frame of the same video, a few frames apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stmask.data.augment import ImageMover, Motion
from stmask.data.clips import ClipDataset, Shot
from stmask.data.ytvis import VideoDataset
from stmask.ops.frames import FramePreprocessor


class FramePairDataset(ClipDataset):
    """Random frame pairs as clips of one pair each, (1, 2, 3, H, W).

    Args:
        gap: largest distance of the target frame from the reference frame, in frames. The two differ unless the video
            has only one annotated frame; if no annotated frame is that near, the nearest is taken.
        motion: moves the annotated frame of a video that has only one, so that images serve as videos.
        how: see `ClipDataset`.
    """

    def __init__(
        self,
        dataset: VideoDataset,
        preprocessor: FramePreprocessor,
        *,
        gap: int = 5,
        motion: Motion | None = None,
        **how: Any,
    ) -> None:
        super().__init__(dataset, preprocessor, **how)
        if gap < 1:
            raise ValueError(f"gap must be at least 1, got {gap}")
        self.gap = gap
        self._mover = ImageMover(motion) if motion is not None else None

    def shots(self, video: int, reference: int, rng: np.random.Generator) -> Sequence[Shot]:
        """The reference frame and a target frame; a still image is paired with a moved copy of itself."""
        target = self._target_frame(video, reference, rng)
        pair = [self.shot(video, position) for position in (reference, target)]
        if self._mover is not None and reference == target:
            pair[1] = self._moved(pair[1], int(rng.integers(2**32)))
        return pair

    def _target_frame(self, video: int, reference: int, rng: np.random.Generator) -> int:
        annotated = self.dataset.annotated_in(video)
        others = annotated[annotated != reference]
        if len(others) == 0:
            return reference
        distance = np.abs(others - reference)
        return int(rng.choice(others[distance <= max(self.gap, int(distance.min()))]))

    def _moved(self, shot: Shot, seed: int) -> Shot:
        assert self._mover is not None
        objects = len(shot.instances)
        image, masks = self._mover(shot.image, [*shot.instances.masks, *shot.crowds], seed)
        instances = replace(shot.instances, masks=tuple(masks[:objects]))
        return replace(shot, image=image, instances=instances, crowds=masks[objects:])
