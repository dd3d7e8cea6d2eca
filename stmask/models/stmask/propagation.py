"""Instances of one frame moved to the next by temporal fusion (equations 10 to 14 and 17)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from stmask.models.stmask.records import Detections, FrameMemory
from stmask.ops import boxes as box_ops
from stmask.ops import masks as mask_ops
from stmask.structures import DenseMasks

# Boxes that drift for hundreds of frames grow without bound; this many image sizes away they are as good as nowhere.
_FAR = 1e4


def propagate(instances: Detections, *, reference: FrameMemory, target: FrameMemory, score_decay: float) -> Detections:
    """The instances of the reference frame as they should be in the target frame.

    Boxes, coefficients, masks and scores (times `score_decay`) move; class, embedding and centre-ness stay.

    Raises:
        ValueError: the frames are of a network without temporal fusion.
    """
    if len(instances) == 0:
        return instances
    temporal = target.temporal
    if temporal is None or reference.features is None or target.features is None:
        raise ValueError("propagation needs the temporal features of both frames, this network gives none")
    fused = temporal.fuse(reference.features, target.features)
    box_deltas, coeff_deltas = temporal(fused, [instances.boxes])
    boxes = moved_boxes(box_deltas.to(instances.boxes), instances.boxes)
    mask_coeffs = instances.mask_coeffs + coeff_deltas.to(instances.mask_coeffs)
    return replace(
        instances,
        boxes=boxes,
        mask_coeffs=mask_coeffs,
        masks=DenseMasks(mask_ops.instance_masks(target.prototypes, mask_coeffs, boxes)),
        scores=instances.scores * score_decay,
    )


def moved_boxes(box_deltas: Tensor, boxes: Tensor) -> Tensor:
    """Boxes (..., 4) xyxy moved by the deltas (..., 4) of the temporal fusion; always numbers."""
    moved = box_ops.decode(box_deltas, box_ops.to_centres(boxes))
    return moved.nan_to_num(0.0, _FAR, -_FAR).clamp(-_FAR, _FAR)
