"""Regions of a feature map under boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from stmask.ops.constants import constant


def boxes_on_map(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes (N, 4) xyxy in [0, 1] in cells of a height x width map: corners in order, clamped to the map."""
    boxes = boxes.nan_to_num()  # of a network that diverged: the operator would read anywhere
    low = torch.minimum(boxes[:, :2], boxes[:, 2:])
    high = torch.maximum(boxes[:, :2], boxes[:, 2:])
    limits = constant((width, height) * 2, boxes)
    return torch.minimum((torch.cat([low, high], dim=1) * limits).clamp(min=0), limits)


def crop_regions(features: Tensor, boxes: Sequence[Tensor], *, size: int) -> Tensor:
    """RoIAlign (half-pixel aligned, adaptive sampling) of features (B, C, h, w) under boxes[b] (N_b, 4).

    Places and means are computed in float32 where the features have half precision.

    Returns:
        (sum N, C, size, size).
    """
    h, w = features.shape[-2:]
    precise = features.to(torch.promote_types(features.dtype, torch.float32))
    rois = [boxes_on_map(group.to(precise.dtype), h, w) for group in boxes]
    regions: Tensor = roi_align(precise, rois, output_size=size, spatial_scale=1.0, sampling_ratio=-1, aligned=True)
    return regions.to(features.dtype)
