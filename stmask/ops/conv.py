"""Convolutions with a faster backward pass on the CPU; elsewhere they are PyTorch's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from stmask.ops import winograd
from stmask.ops.kernels import (
    Pair,
    convolution,
    is_plain_cpu,
    linear,
    product,
    table_gradient,
    through_relu,
    usual_size,
)

_WIDE = 128 * 128  # input times output channels from which a matrix product is the faster gradient of the weight
_PATCH_VALUES = 2**20  # of patches that are laid out at once, to stay in the processor's cache
_FEW = 0.5  # beyond this share of cells with a gradient, gathering them costs more than it saves
_SMALL = 256  # so few cells are not worth a look


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    few: bool = False,
    relu: bool = False,
    inside: Tensor | None = None,
) -> Tensor:
    """As `torch.nn.functional.conv2d`, in values and gradients; best with channels-last maps and weights.

    On the CPU a 1x1 convolution is a matrix product of the map's cells, which saves copies, and so is the gradient of
    a wide weight, for which oneDNN needs twice the time with AVX2. A ReLU is computed on the way. Without gradients a
    wide 3x3 convolution goes by tiles where `ops.winograd.prepare` has seen the weight.

    Args:
        x: (B, C, H, W).
        weight: (O, C, kh, kw).
        bias: (O,).
        stride: step between output cells.
        padding: rows and columns of zeros on each side.
        few: whether it is likely that few output cells get a gradient; the backward pass then costs no more than these.
        relu: whether a ReLU follows.
        inside: (1, 1, h, w), after the ReLU a factor of every cell, 0 or 1; see `ops.sheet`. Not for 1x1 convolutions.
    """
    if not is_plain_cpu(x):
        result = F.conv2d(x, weight, bias, stride=stride, padding=padding)
        return F.relu(result) if relu else result
    if weight.shape[2:] == (1, 1) and padding == (0, 0):
        cells = x[:, :, :: stride[0], :: stride[1]].permute(0, 2, 3, 1)  # (B, h, w, C)
        rows = linear(cells.flatten(0, 2), weight.flatten(1), bias, relu=relu)
        return rows.view(*cells.shape[:3], weight.shape[0]).permute(0, 3, 1, 2)
    if not torch.is_grad_enabled() or len(x) == 0:
        same = stride == (1, 1) and padding == (1, 1)
        if same and (tiles := winograd.prepared(x, weight)) is not None:
            result = winograd.conv_map(x, tiles, bias, relu=relu)
        else:
            result = convolution(x, weight, bias, stride, padding, relu)
        return result if inside is None else result.mul_(inside)
    convolved: Tensor = _Convolution.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, stride, padding, few, relu, inside
    )
    return convolved


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        few: bool,
        relu: bool,
        inside: Tensor | None,
    ) -> Tensor:
        result = convolution(x, weight, bias, stride, padding, relu)
        if inside is not None:  # the gradient through the ReLU is zero where the result is
            result.mul_(inside)
        ctx.save_for_backward(x, weight, *([result] if relu else []))
        ctx.stride, ctx.padding, ctx.few = stride, padding, few
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, weight, *result) = grads, ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        rows = grad.permute(0, 2, 3, 1).flatten(0, 2)  # (B * h * w, O)
        grad_x = grad_weight = grad_bias = None
        some = rows.abs().sum(dim=1).nonzero().flatten() if ctx.few and len(rows) >= _SMALL else None
        if some is not None and len(some) <= _FEW * len(rows):
            mine = rows[some]
            if result:
                mine = through_relu(mine, result[0].permute(0, 2, 3, 1).flatten(0, 2)[some])
            few = _Few(mine, some, grad.shape, x, weight, stride=ctx.stride, padding=ctx.padding)
            grad_x = few.grad_x() if need_x else None
            grad_weight = few.grad_weight() if need_weight else None
            grad_bias = mine.sum(dim=0) if need_bias else None
            return grad_x, grad_weight, grad_bias, *[None] * 5
        if result:
            rows = through_relu(rows, result[0].permute(0, 2, 3, 1).flatten(0, 2))
            b, out, h, w = grad.shape
            grad = rows.view(b, h, w, out).permute(0, 3, 1, 2)
        wide = weight.shape[0] * weight.shape[1] >= _WIDE
        if need_weight and wide:
            grad_weight = _weight_gradient(rows, x, weight, stride=ctx.stride, padding=ctx.padding)
            grad_bias = rows.sum(dim=0) if need_bias else None
            need_weight = need_bias = False
        if need_x or need_weight or need_bias:
            needs = (need_x, need_weight, need_bias)
            theirs = torch.ops.aten.convolution_backward(
                grad, x, weight, [len(weight)], ctx.stride, ctx.padding, [1, 1], False, [0, 0], 1, needs
            )
            grad_x, grad_weight, grad_bias = (
                b if a is None else a for a, b in zip((grad_x, grad_weight, grad_bias), theirs)
            )
        return grad_x, grad_weight, grad_bias, *[None] * 5


def _padded(x: Tensor, padding: Pair) -> Tensor:
    """(B, C, h, w) as (B, H, W, C)."""
    down, right = padding
    return F.pad(x, (right, right, down, down)).permute(0, 2, 3, 1)


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, *, stride: Pair, padding: Pair) -> Tensor:
    """(O, C, kh, kw) from the gradient (B * h * w, O) of every output cell."""
    out, channels, kh, kw = weight.shape
    patches = _padded(x, padding).unfold(1, kh, stride[0]).unfold(2, kw, stride[1])  # (B, h, w, C, kh, kw)
    patches = patches.permute(0, 1, 2, 4, 5, 3)  # a view (B, h, w, kh, kw, C)
    (b, h, w), size = patches.shape[:3], kh * kw * channels
    cells = grad.view(b, h, w, out)
    frames = max(1, _PATCH_VALUES // (h * w * size))
    lines = max(1, _PATCH_VALUES // (w * size))
    total: Tensor | None = None
    for first in range(0, b, frames):
        for top in range(0, h, lines):
            place = slice(first, first + frames), slice(top, top + lines)
            share = product(cells[place].reshape(-1, out).t(), patches[place].reshape(-1, size).t())
            total = share if total is None else total.add_(share)
    assert total is not None
    return total.view(out, kh, kw, channels).permute(0, 3, 1, 2)


class _Few:
    """The gradients (N, O) of some cells of an output of a shape (B, O, h, w)."""

    def __init__(
        self, grad: Tensor, cells: Tensor, shape: torch.Size, x: Tensor, weight: Tensor, *, stride: Pair, padding: Pair
    ) -> None:
        more = usual_size(len(cells)) - len(cells)  # zeros, of the first cell
        self._count, cells = len(cells), F.pad(cells, (0, more))
        self._grad, self._weight, self._padding, self._x = F.pad(grad, (0, 0, 0, more)), weight, padding, x
        self._padded = _padded(x, padding)
        (height, width), (kh, kw), (h, w) = self._padded.shape[1:3], weight.shape[2:], shape[2:]
        frame, row, column = cells // (h * w), cells // w % h, cells % w
        first = (frame * height + row * stride[0]) * width + column * stride[1]
        steps = torch.arange(kh)[:, None] * width + torch.arange(kw)
        self._taps = (first[:, None] + steps.flatten()).flatten().int()  # (N * kh * kw,) cells of `_padded`

    def grad_weight(self) -> Tensor:
        out, channels, kh, kw = self._weight.shape
        table = self._padded.reshape(-1, channels)
        patches = table.index_select(0, self._taps).view(len(self._grad), kh * kw * channels)
        return product(self._grad.t(), patches.t()).view(out, kh, kw, channels).permute(0, 3, 1, 2)

    def grad_x(self) -> Tensor:
        (down, right), (h, w) = self._padding, self._x.shape[2:]
        size = self._padded.shape
        flat_weight = self._weight.permute(0, 2, 3, 1).flatten(1)  # (O, kh * kw * C)
        read = product(self._grad, flat_weight.t())[: self._count].view(-1, size[3])
        whole = table_gradient(read, self._taps[: len(read), None], None, table_rows=size[:3].numel())
        return whole.view(size)[:, down : down + h, right : right + w].permute(0, 3, 1, 2)
