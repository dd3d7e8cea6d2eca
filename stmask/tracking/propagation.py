"""Temporal fusion: instances of one frame moved to the next (equations 10 to 14 and 17)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from stmask.ops import boxes as box_ops
from stmask.ops import masks as mask_ops
from stmask.structures import DensePredictions, Detections

# Boxes that drift for hundreds of frames grow without bound; this many image sizes away they are as good as nowhere.
_FAR = 1e4


class TemporalModule(Protocol):
    """What propagation asks of the network's temporal part."""

    def fuse(self, reference: Tensor, target: Tensor) -> Tensor:
        """X of equation 10 (B, C', h, w) from the features (B, C, h, w) of two frames."""
        ...

    def __call__(self, fused: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Box deltas (N, 4) and coefficient deltas (N, D) for the boxes (N_b, 4) of each image."""
        ...


@dataclass(frozen=True, slots=True)
class FrameMaps:
    """The dense maps of one frame that tracking needs.

    Attributes:
        prototypes: (h, w, D).
        temporal_features: (1, 2C, h', w'), or None for a network without temporal fusion.
    """

    prototypes: Tensor
    temporal_features: Tensor | None

    @staticmethod
    def of(predictions: DensePredictions, index: int = 0) -> FrameMaps:
        """Those of one frame of a batch."""
        features = predictions.temporal_features
        return FrameMaps(predictions.prototypes[index], None if features is None else features[index : index + 1])


def propagate(
    instances: Detections, temporal: TemporalModule, *, reference: FrameMaps, target: FrameMaps, score_decay: float
) -> Detections:
    """The instances of the reference frame as they should be in the target frame.

    Boxes, coefficients, masks and scores (times `score_decay`) move; class, embedding and centre-ness stay.
    """
    if len(instances) == 0:
        return instances
    if reference.temporal_features is None or target.temporal_features is None:
        raise ValueError("propagation needs the temporal features of both frames, the predictions have none")
    fused = temporal.fuse(reference.temporal_features, target.temporal_features)
    box_deltas, coeff_deltas = temporal(fused, [instances.boxes])
    boxes = box_ops.decode(box_deltas.to(instances.boxes), box_ops.to_centres(instances.boxes))
    boxes = boxes.nan_to_num(0.0, _FAR, -_FAR).clamp(-_FAR, _FAR)
    mask_coeffs = instances.mask_coeffs + coeff_deltas.to(instances.mask_coeffs)
    return replace(
        instances,
        boxes=boxes,
        mask_coeffs=mask_coeffs,
        masks=mask_ops.instance_masks(target.prototypes, mask_coeffs, boxes),
        scores=instances.scores * score_decay,
    )
