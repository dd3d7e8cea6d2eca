"""Mask losses: binary cross entropy of instance masks, divided by the size of the box they are cropped to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.ops.boxes import enlarge
from stmask.ops.masks import box_windows, combine, crop

_EDGE = 1e-5


def crop_boxes(boxes: Tensor, *, factor: float) -> Tensor:
    """Predicted boxes (P, 4), detached, grown about their centres and clamped to the image: where masks are cropped."""
    return enlarge(boxes.detach(), factor).clamp(_EDGE, 1)


def cropped_mask_bce(
    mask_coeffs: Tensor,
    prototypes: Tensor,
    *,
    boxes: Tensor,
    target_masks: Tensor,
    min_side: float = 1.0,
    full_resolution: bool = True,
    inside_only: bool = True,
) -> Tensor:
    """Cross entropy of each mask inside its box, divided by the box's area in pixels.

    Args:
        mask_coeffs: (P, D) before tanh.
        prototypes: (h, w, D) of the frame.
        boxes: (P, 4) xyxy, where the masks are cropped.
        target_masks: (P, H, W) bool at the input's size.
        min_side: least width and height of a box in pixels of the input.
        full_resolution: compare at the input's size (the release) or, much cheaper, at the prototypes' (YOLACT).
        inside_only: count only pixels in the box; outside it the mask is zero whatever is predicted.

    Returns:
        (P,).
    """
    height, width = target_masks.shape[-2:]
    probabilities = crop(combine(prototypes, mask_coeffs).sigmoid(), boxes)
    target = target_masks.to(probabilities.dtype)
    pixels = 1.0  # of the input under one compared cell
    if full_resolution:
        probabilities = _resize(probabilities, (height, width))
    else:
        h, w = prototypes.shape[:2]
        target = _resize(target, (h, w)).gt(0.5).to(target.dtype)
        pixels = height * width / (h * w)
    cost = _cross_entropy(probabilities, target)
    if inside_only:
        # the margin of one prototype cell is what `crop` keeps beyond the box
        margin = height / prototypes.shape[0] if full_resolution else 1.0
        cost = cost * box_windows(boxes, cost.shape[1], cost.shape[2], margin=margin)
    sides = (boxes[:, 2:] - boxes[:, :2]) * boxes.new_tensor([width, height])
    return cost.sum(dim=(1, 2)) * pixels / sides.clamp(min=min_side).prod(dim=1)


def mask_loss(costs: Tensor, weights: Tensor) -> Tensor:
    """Sum of weights (P,) times the masks' costs (P,)."""
    return torch.dot(weights, costs)


def _cross_entropy(probabilities: Tensor, target: Tensor) -> Tensor:
    """Of every cell. What is not a number stays so: PyTorch would refuse it, and on a GPU end the process."""
    broken = probabilities.isnan()
    cost = F.binary_cross_entropy(probabilities.masked_fill(broken, 0.5).clamp(0, 1), target, reduction="none")
    return cost.masked_fill(broken, torch.nan)


def _resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(masks[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
