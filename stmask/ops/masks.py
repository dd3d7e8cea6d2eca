"""Instance masks from prototypes and coefficients, cropping, overlap."""

from __future__ import annotations

import torch
from torch import Tensor


def combine(prototypes: Tensor, mask_coeffs: Tensor) -> Tensor:
    """Equation 9 before its sigmoid: logits (N, h, w) from prototypes (h, w, D) and coefficients (N, D) before tanh."""
    h, w, d = prototypes.shape
    return (mask_coeffs.tanh() @ prototypes.reshape(h * w, d).t()).view(-1, h, w)


def box_windows(boxes: Tensor, height: int, width: int, *, margin: float) -> Tensor:
    """Which cells of a height x width map lie in each box: (N, 4) xyxy in [0, 1] gives (N, height, width) bool.

    A cell with index i is kept when x1 * width - margin <= i < x2 * width + margin; likewise for rows.
    """
    x1, y1, x2, y2 = (boxes[:, None, i] for i in range(4))
    columns = torch.arange(width, device=boxes.device, dtype=boxes.dtype)[None]
    rows = torch.arange(height, device=boxes.device, dtype=boxes.dtype)[None]
    inside_x = (columns >= x1 * width - margin) & (columns < x2 * width + margin)
    inside_y = (rows >= y1 * height - margin) & (rows < y2 * height + margin)
    return inside_y[:, :, None] & inside_x[:, None, :]


def crop(masks: Tensor, boxes: Tensor, *, margin: float = 1.0) -> Tensor:
    """Masks (N, h, w) set to zero outside their boxes (N, 4), which are grown by `margin` cells on each side."""
    return masks * box_windows(boxes, masks.shape[1], masks.shape[2], margin=margin)


def instance_masks(prototypes: Tensor, mask_coeffs: Tensor, boxes: Tensor) -> Tensor:
    """Equation 9: probabilities (N, h, w) from prototypes (h, w, D), coefficients (N, D), cropped by boxes (N, 4)."""
    return crop(combine(prototypes, mask_coeffs).sigmoid(), boxes)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of every pair of boolean masks: (N, h, w) and (M, h, w) give (N, M); 0 where the union is empty."""
    x, y = a.flatten(1).float(), b.flatten(1).float()
    overlap = x @ y.t()
    union = x.sum(1)[:, None] + y.sum(1)[None] - overlap
    return overlap / union.clamp(min=1)
