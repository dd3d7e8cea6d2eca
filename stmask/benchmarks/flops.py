"""Counts floating point operations: those that torch's counter knows, sampling, and deformable convolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchvision  # noqa: F401 - registers the operators that are counted
from torch.utils.flop_counter import FlopCounterMode

Shape = Sequence[int]
_BILINEAR = 8  # operations that a value takes which is sampled between four cells


def count(work: Callable[[], Any]) -> float:
    """FLOPs that `work` carries out as tensor operations; element-wise ones, sorting and the like are not counted."""
    with counter() as flops:
        work()
    return float(flops.get_total_flops())


def counter() -> FlopCounterMode:
    """A context that counts, for work that is not one call."""
    aten, vision = torch.ops.aten, torch.ops.torchvision
    onednn = torch.ops.mkldnn  # not in every build of PyTorch
    linear, conv = getattr(onednn, "_linear_pointwise", None), getattr(onednn, "_convolution_pointwise", None)
    return FlopCounterMode(
        display=False,
        custom_mapping={
            **({} if linear is None else {linear: _linear}),
            **({} if conv is None else {conv: _convolution}),
            aten._embedding_bag_forward_only: _bags,
            aten._embedding_bag_per_sample_weights_backward: _bags_backward,
            aten.grid_sampler_2d: _sampled,
            aten.grid_sampler_2d_backward: _sampled_backward,
            aten.cudnn_grid_sampler: _sampled,
            aten.cudnn_grid_sampler_backward: _sampled_backward,
            vision.deform_conv2d: _deformable,
            vision._deform_conv2d_backward: _deformable_backward,
            vision.roi_align: _regions,
            vision._roi_align_backward: _regions_backward,
        },
    )


def _linear(x: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * math.prod(out_shape) * weight[-1]


def _convolution(x: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def _bags(table: Shape, rows: Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(rows) * table[-1]


def _bags_backward(gradient: Shape, table: Shape, rows: Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(rows) * table[-1]


def _sampled(*_: Any, out_shape: Shape, **__: Any) -> int:
    return _BILINEAR * math.prod(out_shape)


def _sampled_backward(gradient: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * _BILINEAR * math.prod(gradient)


def _deformable(x: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    batch, out, height, width = out_shape
    values = weight[1] * weight[2] * weight[3] * batch * height * width
    return values * (2 * out + _BILINEAR)


def _deformable_backward(gradient: Shape, x: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * _deformable(x, weight, out_shape=gradient)


def _regions(
    x: Shape, rois: Shape, scale: float, height: int, width: int, ratio: int, *_: Any, out_shape: Shape, **__: Any
) -> int:
    """With at least one value sampled for each cell: how many follows from the boxes where the ratio is adaptive."""
    return _BILINEAR * math.prod(out_shape) * max(1, ratio) ** 2


def _regions_backward(gradient: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return _BILINEAR * math.prod(gradient)
