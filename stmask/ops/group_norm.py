"""Group normalisation of channels-last maps on the CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from stmask.ops.kernels import is_plain_cpu

_VALUES_AT_ONCE = 2**18  # to stay in the processor's cache


def group_norm(
    x: Tensor,
    num_groups: int,
    *,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    add: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """As `torch.nn.functional.group_norm` for maps (B, C, h, w), plus `add`, and a ReLU of that.

    PyTorch's own is up to 20 times slower on the CPU where maps are channels-last.
    """
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    if not (is_plain_cpu(x) and channels_last and x.dtype == weight.dtype):
        result = F.group_norm(x, num_groups, weight, bias, eps)
        result = result if add is None else result + add
        return F.relu(result) if relu else result
    b, c, h, w = x.shape
    added = None if add is None else add.permute(0, 2, 3, 1).flatten(1, 2)
    rows: Tensor = _GroupNorm.apply(  # type: ignore[no-untyped-call]
        x.permute(0, 2, 3, 1).flatten(1, 2), added, num_groups, weight, bias, eps, relu
    )
    return rows.view(b, h, w, c).permute(0, 3, 1, 2)


class _GroupNorm(torch.autograd.Function):
    """Of rows (B, h * w, C). What is summed over h * w is (B, C), which is small."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, add: Tensor | None, num_groups: int, weight: Tensor, bias: Tensor, eps: float, relu: bool
    ) -> Tensor:
        centred, result = torch.empty_like(x), torch.empty_like(x)
        inverse = x.new_empty(len(x), x.shape[2])
        for part in _parts(x):
            mine = centred[part]
            torch.sub(x[part], _over_groups(x[part].mean(dim=1), num_groups)[:, None], out=mine)
            inverse[part] = (_over_groups(mine.square().mean(dim=1), num_groups) + eps).rsqrt()
            torch.addcmul(bias, mine, (inverse[part] * weight)[:, None], out=result[part])
            if add is not None:
                result[part].add_(add[part])
            if relu:
                result[part].relu_()
        ctx.save_for_backward(centred, inverse, weight, *([result] if relu else []))
        ctx.num_groups = num_groups
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (centred, inverse, weight, *result) = grads, ctx.saved_tensors
        cells = grad.shape[1]
        inside = torch.empty_like(centred) if result else grad  # the gradient before the ReLU
        grad_x = torch.empty_like(centred)
        total, along = torch.empty_like(inverse), torch.empty_like(inverse)  # (B, C) each
        for part in _parts(centred):
            if result:
                torch.ops.aten.threshold_backward.grad_input(grad[part], result[0][part], 0, grad_input=inside[part])
            mine = inside[part]
            total[part] = mine.sum(dim=1)
            along[part] = (mine * centred[part]).sum(dim=1) * inverse[part]
            shift = _over_groups(total[part] * weight, ctx.num_groups) / cells * inverse[part]
            slope = _over_groups(along[part] * weight, ctx.num_groups) / cells * inverse[part].square()
            torch.addcmul(-shift[:, None], mine, (inverse[part] * weight)[:, None], out=grad_x[part])
            grad_x[part].addcmul_(centred[part], slope[:, None], value=-1)
        grad_add = inside if ctx.needs_input_grad[1] else None
        return grad_x, grad_add, None, along.sum(dim=0), total.sum(dim=0), None, None


def _parts(rows: Tensor) -> list[slice]:
    """Of the frames of rows (B, h * w, C)."""
    frames = max(1, _VALUES_AT_ONCE // max(1, rows.shape[1] * rows.shape[2]))
    return [slice(first, first + frames) for first in range(0, len(rows), frames)]


def _over_groups(values: Tensor, num_groups: int) -> Tensor:
    """The mean of each group's channels, for each channel: (B, C) to (B, C)."""
    grouped = values.view(len(values), num_groups, -1)
    return grouped.mean(dim=2, keepdim=True).expand_as(grouped).flatten(1)
