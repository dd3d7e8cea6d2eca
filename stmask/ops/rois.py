"""Regions of a feature map under boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torchvision.ops import roi_align

from stmask.ops.constants import constant
from stmask.ops.kernels import is_plain_cpu


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
    if is_plain_cpu(precise) and torch.is_grad_enabled():
        regions: Tensor = _Regions.apply(precise, size, *rois)  # type: ignore[no-untyped-call]
    else:
        regions = _roi_align(precise, rois, size)
    return regions.to(features.dtype)


def _roi_align(features: Tensor, rois: Sequence[Tensor], size: int) -> Tensor:
    regions: Tensor = roi_align(
        features, list(rois), output_size=size, spatial_scale=1.0, sampling_ratio=-1, aligned=True
    )
    return regions


class _Regions(torch.autograd.Function):
    """`roi_align` with a backward pass by matrix products: what a cell of a region reads is a sum along rows of sums
    along columns."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, size: int, *rois: Tensor) -> Tensor:
        ctx.save_for_backward(*rois)
        ctx.shape = features.shape
        return _roi_align(features, rois, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rois: tuple[Tensor, ...] = ctx.saved_tensors
        _, c, h, w = ctx.shape
        grad = grads[0].permute(0, 2, 3, 1)  # (N, size, size, C)
        size = grad.shape[1]
        maps = []
        for boxes, mine in zip(rois, torch.split(grad, [len(boxes) for boxes in rois])):
            x1, y1, x2, y2 = boxes.unbind(dim=1)
            columns, rows = _read_along(x1, x2, w, size), _read_along(y1, y2, h, size)  # (N, size, w), (N, size, h)
            across = columns.mT[:, None] @ mine  # (N, size, w, C)
            maps.append((rows.flatten(0, 1).t() @ across.reshape(len(boxes) * size, w * c)).view(h, w, c))
        return torch.stack(maps).permute(0, 3, 1, 2), None, *[None for _ in rois]


def _read_along(low: Tensor, high: Tensor, cells: int, size: int) -> Tensor:
    """How much each of a region's cells takes of each of the map's, along one axis: (N, size, cells).

    Args:
        low, high: (N,), where the regions begin and end, in cells.
    """
    step = (high - low) / size
    samples = step.ceil()  # in each cell of the region
    most = int(samples.max()) if len(samples) else 0
    place = torch.arange(most, dtype=low.dtype)
    inside = (place + 0.5) / samples.clamp(min=1)[:, None]  # (N, most), in steps
    first = torch.arange(size, dtype=low.dtype)[:, None]
    at = (low - 0.5)[:, None, None] + (first + inside[:, None]) * step[:, None, None]  # (N, size, most)
    weight = (place < samples[:, None])[:, None] & (at >= -1) & (at <= cells)
    near = (1 - (at.clamp(0, cells - 1)[..., None] - torch.arange(cells, dtype=low.dtype)).abs()).clamp(min=0)
    return (near * weight[..., None]).sum(dim=2) / samples.clamp(min=1)[:, None, None]
