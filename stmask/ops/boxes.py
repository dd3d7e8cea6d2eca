"""Boxes: forms, overlaps and the regression code. Last axis is always 4; leading axes are free.

`boxes` is xyxy in [0, 1] of the padded input unless the name says otherwise (`boxes_cxcywh`, `boxes_px`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from stmask.ops.constants import constant

# The network predicts equation 1 divided by these, so that its targets have about unit scale.
BOX_VARIANCES = (0.1, 0.1, 0.2, 0.2)
_EPSILON = 1e-9


def to_corners(boxes_cxcywh: Tensor) -> Tensor:
    """Centre form to corner form."""
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def to_centres(boxes: Tensor) -> Tensor:
    """Corner form to centre form."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def encode(boxes: Tensor, anchors_cxcywh: Tensor) -> Tensor:
    """Equation 1 over the variances: the deltas that move each anchor onto its box. Shapes broadcast to (..., 4)."""
    target = to_centres(boxes)
    shift = (target[..., :2] - anchors_cxcywh[..., :2]) / anchors_cxcywh[..., 2:]
    stretch = (target[..., 2:].clamp(min=_EPSILON) / anchors_cxcywh[..., 2:]).log()
    return torch.cat([shift, stretch], dim=-1) / constant(BOX_VARIANCES, shift)


def decode(box_deltas: Tensor, anchors_cxcywh: Tensor) -> Tensor:
    """Equation 2: boxes (..., 4) xyxy from deltas (..., 4) and anchors in centre form; not clipped."""
    t = box_deltas * constant(BOX_VARIANCES, box_deltas)
    centre = anchors_cxcywh[..., :2] + anchors_cxcywh[..., 2:] * t[..., :2]
    size = anchors_cxcywh[..., 2:] * t[..., 2:].exp()
    return to_corners(torch.cat([centre, size], dim=-1))


def area(boxes: Tensor) -> Tensor:
    """Areas (...) of boxes (..., 4); an inverted box has area 0."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    return (high - low).clamp(min=0).prod(dim=-1)


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of a[i] with b[i]; shapes broadcast, result (...)."""
    overlap = _intersection(a, b)
    return overlap / (area(a) + area(b) - overlap).clamp(min=_EPSILON)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of every pair: (..., N, 4) and (..., M, 4) give (..., N, M)."""
    return paired_iou(a[..., :, None, :], b[..., None, :, :])


def share_inside(a: Tensor, b: Tensor) -> Tensor:
    """The part of each box's area that lies inside each other box: (N, 4) and (M, 4) give (N, M) in [0, 1]."""
    return _intersection(a[:, None], b[None, :]) / area(a)[:, None].clamp(min=_EPSILON)


def paired_diou(a: Tensor, b: Tensor) -> Tensor:
    """IoU minus the squared centre distance over the squared diagonal of the enclosing box; in (-1, 1]."""
    centre_distance = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2).square().sum(dim=-1)
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    diagonal = (high - low).square().sum(dim=-1)
    return paired_iou(a, b) - centre_distance / diagonal.clamp(min=_EPSILON)


def enlarge(boxes: Tensor, factor: float) -> Tensor:
    """Boxes grown by `factor` about their centres."""
    cxcywh = to_centres(boxes)
    return to_corners(torch.cat([cxcywh[..., :2], cxcywh[..., 2:] * factor], dim=-1))


def from_masks(masks: Tensor) -> Tensor:
    """Tight boxes (N, 4) xyxy in [0, 1] of masks (N, H, W) bool; pixel i spans [i, i + 1). No pixels give zeros."""
    n, height, width = masks.shape
    if n == 0:
        return torch.zeros(0, 4, device=masks.device)

    def span(occupied: Tensor) -> tuple[Tensor, Tensor]:  # (N, L) bool
        length = occupied.shape[1]
        hit = occupied.to(torch.uint8)
        first = hit.argmax(dim=1)
        last = length - hit.flip(1).argmax(dim=1)
        empty = ~occupied.any(dim=1)
        return first.masked_fill(empty, 0), last.masked_fill(empty, 0)

    x1, x2 = span(masks.any(dim=1))
    y1, y2 = span(masks.any(dim=2))
    boxes_px = torch.stack([x1, y1, x2, y2], dim=1).float()
    return boxes_px / boxes_px.new_tensor([width, height, width, height])
