"""Boxes in pixels: mmdet's regression code. Last axis is always 4.

Unlike `stmask.ops.boxes` it limits how much a box grows or shrinks, and pixels keep the ties between anchors exact.
torchvision's own coder is private, and has no lower limit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

PLAIN_SCALES = (1.0, 1.0, 1.0, 1.0)
"""Of the deltas of proposals."""
REGION_SCALES = (0.1, 0.1, 0.2, 0.2)
"""Of the deltas of detections."""
_LONGEST = math.log(1000 / 16)

Scales = tuple[float, float, float, float]
Size = tuple[int, int]


def decode(box_deltas: Tensor, boxes_px: Tensor, *, scales: Scales, image_size: Size) -> Tensor:
    """Boxes (..., 4) moved by deltas (..., 4), within an image of (h, w) pixels."""
    deltas = box_deltas * box_deltas.new_tensor(scales)
    centre = (boxes_px[..., :2] + boxes_px[..., 2:]) * 0.5
    size = boxes_px[..., 2:] - boxes_px[..., :2]
    centre = centre + size * deltas[..., :2]
    half = size * deltas[..., 2:].clamp(-_LONGEST, _LONGEST).exp() * 0.5
    return within(torch.cat([centre - half, centre + half], dim=-1), image_size)


def encode(boxes_px: Tensor, targets_px: Tensor, *, scales: Scales) -> Tensor:
    """The deltas (N, 4) that move each box (N, 4) onto its target (N, 4)."""
    size, wanted = boxes_px[:, 2:] - boxes_px[:, :2], targets_px[:, 2:] - targets_px[:, :2]
    shift = ((targets_px[:, :2] + targets_px[:, 2:]) * 0.5 - (boxes_px[:, :2] + boxes_px[:, 2:]) * 0.5) / size
    return torch.cat([shift, (wanted / size).log()], dim=1) / boxes_px.new_tensor(scales)


def within(boxes_px: Tensor, image_size: Size) -> Tensor:
    """Boxes (..., 4) clipped to an image of (h, w) pixels; what is not a number is 0."""
    h, w = image_size
    return boxes_px.nan_to_num().clamp(min=0).minimum(boxes_px.new_tensor((w, h, w, h)))
