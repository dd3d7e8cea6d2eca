"""Single-frame clips for training image networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stmask.data.clips import ClipDataset, Shot


class ImageDataset(ClipDataset):
    """Annotated frames as clips of one frame each, (1, 1, 3, H, W)."""

    def shots(self, video: int, reference: int, rng: np.random.Generator) -> Sequence[Shot]:
        """The image itself."""
        return (self.shot(video, reference),)
