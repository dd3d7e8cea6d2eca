"""Box regression and the centre-ness that learns its quality. Positives' weights sum to 1 in every frame."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from stmask.ops.boxes import encode, paired_diou


def diou_loss(boxes: Tensor, target_boxes: Tensor, weights: Tensor) -> Tensor:
    """Sum of weights (P,) times 1 - DIoU of boxes (P, 4) with target boxes (P, 4), both xyxy."""
    return (weights * (1 - paired_diou(boxes, target_boxes))).sum()


def smooth_l1_box_loss(box_deltas: Tensor, target_boxes: Tensor, *, anchors: Tensor, weights: Tensor) -> Tensor:
    """Sum of weights (P,) times the smooth L1 distance, summed over the four deltas (P, 4), to the encoded targets.

    Args:
        box_deltas: (P, 4), predicted, over the variances.
        target_boxes: (P, 4) xyxy.
        anchors: (P, 4) cxcywh of the positives.
        weights: (P,).
    """
    distance = F.smooth_l1_loss(box_deltas, encode(target_boxes, anchors), reduction="none").sum(dim=1)
    return (weights * distance).sum()


def centerness_loss(centerness: Tensor, boxes: Tensor, *, target_boxes: Tensor, weights: Tensor) -> Tensor:
    """Smooth L1 of centre-ness (P,) to the DIoU, which may be negative, of predicted boxes with their targets (P, 4).

    Boxes with a gradient are moved too, towards the quality that was predicted for them.
    """
    quality = paired_diou(boxes, target_boxes)
    return (weights * F.smooth_l1_loss(centerness, quality, reduction="none")).sum()
