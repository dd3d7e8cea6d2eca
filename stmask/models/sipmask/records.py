"""What the parts of SipMask tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from stmask.models.layers.fcos import PointPredictions, by_point


@dataclass(frozen=True, slots=True)
class SipMaskMaps:
    """What the head computes of B frames; lists are level by level, P3 .. P7.

    Attributes:
        class_logits: (B, K, h, w), of sigmoids.
        distances_px: (B, 4, h, w), from a point to the left, top, right and bottom side.
        centreness_logits: (B, 1, h, w).
        coefficients: (B, 4 * D, h, w), those of the upper left quarter of a box first, then upper right, lower left,
            lower right.
        prototypes: (B, D, H / 2, W / 2).
        track: (B, E, H / 8, W / 8), a track feature for each cell.
    """

    class_logits: Sequence[Tensor]
    distances_px: Sequence[Tensor]
    centreness_logits: Sequence[Tensor]
    coefficients: Sequence[Tensor]
    prototypes: Tensor
    track: Tensor

    def by_point(self) -> PointPredictions:
        """The predictions in the order of the points."""
        return PointPredictions(
            by_point(self.class_logits).float(),
            by_point(self.distances_px).float(),
            by_point(self.centreness_logits).float()[..., 0],
        )
