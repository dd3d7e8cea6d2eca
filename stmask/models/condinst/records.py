"""What the parts of CondInst tell each other."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from stmask.models.layers.fcos import PointPredictions, Points


@dataclass(frozen=True, slots=True)
class CondInstMaps:
    """What the network computes of B frames, in float32.

    Attributes:
        points: A of them.
        predictions: at the points.
        filters: (B, A, P), the weights and biases of the layers that draw the mask of a point's object.
        features: (B, C, H / 8, W / 8), what these layers look at.
        embeddings: (B, A, E) of any length; None for a network of images.
    """

    points: Points
    predictions: PointPredictions
    filters: Tensor
    features: Tensor
    embeddings: Tensor | None
