"""What the parts of MaskTrack R-CNN tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from stmask.structures import Instances
from stmask.structures._checks import require_shape


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


@dataclass(frozen=True, slots=True)
class RegionInstances(Instances):
    """The instances of a frame, best first.

    Attributes:
        track_features: (N, E) of any length.
    """

    track_features: Tensor

    def __post_init__(self) -> None:
        Instances.__post_init__(self)
        require_shape("track_features", self.track_features, (len(self.scores), None))
