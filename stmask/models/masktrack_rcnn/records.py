"""What the parts of MaskTrack R-CNN tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class RegionMaps:
    """What the network computes of B frames before it looks at regions; level by level, P2 .. P6.

    Attributes:
        levels: features (B, C, h, w).
        objectness: logits (B, k, h, w) of the k anchors of each cell.
        box_deltas: (B, 4 k, h, w), channel 4 * anchor + coordinate.
    """

    levels: Sequence[Tensor]
    objectness: Sequence[Tensor]
    box_deltas: Sequence[Tensor]
