"""STMask's own records: dense predictions, detections with what temporal fusion moves, and a frame's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from torch import Tensor

from stmask.models.stmask.branches import Branches
from stmask.structures import DenseMasks, Instances
from stmask.structures._checks import require_shape


@dataclass(frozen=True, slots=True)
class DensePredictions:
    """Predictions for every anchor of B frames. Anchor order: level, then row, column, anchor shape.

    Attributes:
        box_deltas: (B, A, 4), scaled by the box variances (equation 1 divided by 0.1, 0.1, 0.2, 0.2).
        class_logits: (B, A, K + 1), background first.
        branches: mask coefficients and embeddings, where they are asked for.
        centerness: (B, A) after tanh, or None for a head without that branch.
        anchors: (A, 4) cxcywh in [0, 1] of the padded input.
        prototypes: (B, h, w, D).
        temporal_features: (B, 2C, h, w): what the temporal fusion keeps of a frame (pyramid level, head tower),
            or None without it.
    """

    box_deltas: Tensor
    class_logits: Tensor
    branches: Branches
    centerness: Tensor | None
    anchors: Tensor
    prototypes: Tensor
    temporal_features: Tensor | None

    def __post_init__(self) -> None:
        b, a = self.class_logits.shape[:2]
        require_shape("box_deltas", self.box_deltas, (b, a, 4))
        require_shape("anchors", self.anchors, (a, 4))
        require_shape("prototypes", self.prototypes, (b, None, None, None))
        if self.centerness is not None:
            require_shape("centerness", self.centerness, (b, a))
        if self.temporal_features is not None:
            require_shape("temporal_features", self.temporal_features, (b, None, None, None))

    @property
    def batch_size(self) -> int:
        """B, the number of frames."""
        return self.class_logits.shape[0]

    def float(self) -> DensePredictions:
        """The same predictions in float32, whatever the precision of the network; but what the branches give."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        floats = {name: value.float() for name, value in values.items() if isinstance(value, Tensor)}
        return DensePredictions(**(values | floats))


@dataclass(frozen=True, slots=True)
class Detections(Instances):
    """N instances of one frame, in the order of non-maximum suppression.

    Attributes:
        masks: probabilities at the prototypes' resolution, zero outside the box.
        centerness: (N,), ones for a head without that branch.
        mask_coeffs: (N, D) before tanh.
        embeddings: (N, E) of unit length.
    """

    masks: DenseMasks
    centerness: Tensor
    mask_coeffs: Tensor
    embeddings: Tensor

    def __post_init__(self) -> None:
        Instances.__post_init__(self)
        n = len(self)
        require_shape("centerness", self.centerness, (n,))
        require_shape("mask_coeffs", self.mask_coeffs, (n, None))
        require_shape("embeddings", self.embeddings, (n, None))


class TemporalModule(Protocol):
    """What propagation needs of the network's temporal fusion."""

    def fuse(self, reference: Tensor, target: Tensor) -> Tensor:
        """X of equation 10 (B, C', h, w) from the features (B, C, h, w) of two frames."""
        ...

    def __call__(self, fused: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Box deltas (N, 4) and coefficient deltas (N, D) for the boxes (N_b, 4) of each image."""
        ...


@dataclass(frozen=True, slots=True)
class FrameMemory:
    """What tracking needs of one frame besides its detections.

    Attributes:
        prototypes: (h, w, D).
        features: (1, 2C, h', w') for the temporal fusion, or None for a network without it.
        temporal: the network's temporal fusion, in evaluation mode, or None.
    """

    prototypes: Tensor
    features: Tensor | None = None
    temporal: TemporalModule | None = None

    @staticmethod
    def of(predictions: DensePredictions, index: int = 0, *, temporal: TemporalModule | None = None) -> FrameMemory:
        """The memory of one frame of a batch."""
        features = predictions.temporal_features
        kept = None if features is None else features[index : index + 1]
        return FrameMemory(predictions.prototypes[index], kept, temporal)
