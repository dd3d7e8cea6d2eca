"""Mask losses: binary cross entropy of instance masks, divided by the size of the box they are cropped to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.ops.boxes import enlarge
from stmask.ops.masks import box_windows, crop

_EDGE = 1e-5


def crop_boxes(boxes: Tensor, *, factor: float) -> Tensor:
    """Predicted boxes (P, 4), detached, grown about their centres and clamped to the image: where masks are cropped."""
    return enlarge(boxes.detach(), factor).clamp(_EDGE, 1)


def cropped_mask_bce(
    logits: Tensor,
    *,
    boxes: Tensor,
    target_masks: Tensor,
    objects: Tensor,
    min_side: float = 1.0,
    full_resolution: bool = True,
    inside_only: bool = True,
) -> Tensor:
    """Cross entropy of each mask inside its box, divided by the box's area in pixels.

    Args:
        logits: (P, h, w) at the prototypes' size.
        boxes: (P, 4) xyxy, where the masks are cropped.
        target_masks: (M, H, W) bool at the input's size.
        objects: (P,) int64, the target of each mask.
        min_side: least width and height of a box in pixels of the input.
        full_resolution: compare at the input's size (the release) or, much cheaper, at the prototypes' (YOLACT).
        inside_only: count only pixels in the box; outside it the mask is zero whatever is predicted.

    Returns:
        (P,).
    """
    (height, width), (h, w) = target_masks.shape[-2:], logits.shape[-2:]
    probabilities = crop(logits.sigmoid(), boxes)
    pixels = 1.0  # of the input under one compared cell
    if full_resolution:
        probabilities = _resize(probabilities, (height, width))
        target = target_masks[objects].to(probabilities.dtype)
    else:
        small = _resize(target_masks.to(probabilities.dtype), (h, w)).gt(0.5)
        target = small.to(probabilities.dtype)[objects]
        pixels = height * width / (h * w)
    cost = _cross_entropy(probabilities, target)
    if inside_only:
        # the margin of one prototype cell is what `crop` keeps beyond the box
        margin = height / h if full_resolution else 1.0
        cost = cost * box_windows(boxes, cost.shape[1], cost.shape[2], margin=margin)
    sides = (boxes[:, 2:] - boxes[:, :2]) * boxes.new_tensor([width, height])
    return cost.sum(dim=(1, 2)) * pixels / sides.clamp(min=min_side).prod(dim=1)


def _cross_entropy(probabilities: Tensor, target: Tensor) -> Tensor:
    """Of every cell. What is not a number stays so: PyTorch would refuse it, and on a GPU end the process."""
    broken = probabilities.isnan()
    cost = F.binary_cross_entropy(probabilities.masked_fill(broken, 0.5).clamp(0, 1), target, reduction="none")
    return cost.masked_fill(broken, torch.nan)


def _resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(masks[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
