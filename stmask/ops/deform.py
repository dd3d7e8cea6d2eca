"""Deformable convolution behind one function, by the fastest of three equal ways."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache, lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torchvision.ops import deform_conv2d

from stmask.ops.kernels import bag_sums, factor_gradient, product, table_gradient, through_relu, usual_size


def same_padding(kernel: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) that keeps h x w at stride 1; an even kernel reaches further right and down."""
    kh, kw = kernel
    return (kw - 1) // 2, kw // 2, (kh - 1) // 2, kh // 2


def sampling_points(offsets: Tensor, kernel: tuple[int, int], *, stride: int = 1) -> Tensor:
    """Where each tap reads (equation 3: p + g + dg): (B, taps, h, w, 2), (y, x) in cells, the middle of cell i at i.

    Args:
        offsets: (B, 2 * kh * kw, h, w), (dy, dx) for each tap in row order, in cells; zeros for a plain convolution.
        kernel: (kh, kw).
        stride: step between output cells.
    """
    (kh, kw), (h, w) = kernel, offsets.shape[2:]
    left, _, top, _ = same_padding(kernel)
    arange = partial(torch.arange, device=offsets.device, dtype=offsets.dtype)
    tap_y = arange(kh).repeat_interleave(kw) - top
    tap_x = arange(kw).repeat(kh) - left
    shift = offsets.view(-1, kh * kw, 2, h, w)
    y = shift[:, :, 0] + tap_y[:, None, None] + arange(h)[:, None] * stride
    x = shift[:, :, 1] + tap_x[:, None, None] + arange(w) * stride
    return torch.stack([y, x], dim=-1)


def deform_conv(
    x: Tensor,
    offsets: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    stride: int = 1,
    relu: bool = False,
) -> Tensor:
    """Deformable convolution with "same" padding (equations 3 and 4; with `mask` the modulated DCNv2).

    Args:
        x: (B, C, H, W).
        offsets: (B, G * 2 * kh * kw, h, w), (dy, dx) for each tap in row order, in cells; h = ceil(H / stride). With G
            groups each C / G channels have offsets of their own.
        weight: (O, C, kh, kw).
        bias: (O,).
        mask: (B, G * kh * kw, h, w) factors of the taps.
        stride: step between output cells.
        relu: whether a ReLU follows.

    Returns:
        (B, O, h, w). Offsets and sampling stay in float32 under autocast: their rounding moves pixels.
    """
    exported = torch.compiler.is_exporting()  # other formats have the operator, under the same name
    on_cpu = x.device.type == "cpu" and not exported
    by_triton = not torch.is_grad_enabled() and x.is_cuda and _has_triton()
    groups = offsets.shape[1] // (2 * weight.shape[2] * weight.shape[3])
    if groups > 1 and (on_cpu or by_triton):
        result = _by_groups(x, offsets, weight, bias, mask, stride, groups)
    elif on_cpu:
        return _by_rows(x, offsets, weight, bias, mask, stride, relu)
    else:
        result = (_by_triton if by_triton else _by_torchvision)(x, offsets, weight, bias, mask, stride)
    return F.relu(result, inplace=True) if relu else result


def _by_groups(
    x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, stride: int, groups: int
) -> Tensor:
    """The sum over the groups of channels."""
    masks: tuple[Tensor | None, ...] = (None,) * groups if mask is None else mask.chunk(groups, dim=1)
    parts = zip(*(value.chunk(groups, dim=1) for value in (x, offsets, weight)), masks, strict=True)
    result: Tensor | None = None
    for part, shifts, kernel, factors in parts:
        first = bias if result is None else None
        own = deform_conv(part, shifts, kernel, bias=first, mask=factors, stride=stride)
        result = own if result is None else result + own
    assert result is not None
    return result


@cache
def _has_triton() -> bool:
    """It comes with PyTorch for Nvidia's GPUs on Linux."""
    return importlib.util.find_spec("triton") is not None


def _by_triton(
    x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, stride: int
) -> Tensor:
    """What the taps read, in the network's precision, then one matrix product. Without gradients."""
    from stmask.ops.deform_gpu import sample_taps

    b, out, (h, w) = x.shape[0], weight.shape[0], offsets.shape[2:]
    kernel = (weight.shape[2], weight.shape[3])
    left, _, top, _ = same_padding(kernel)
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    with torch.autocast(device, enabled=False):
        samples = sample_taps(
            x.to(dtype).contiguous(memory_format=torch.channels_last),
            offsets.float(),
            None if mask is None else mask.float(),
            kernel=kernel,
            stride=stride,
            corner=(top, left),
        )  # (B * h * w, taps * C)
        taps_first = weight.to(dtype).permute(0, 2, 3, 1).reshape(out, -1)
        result = F.linear(samples, taps_first, None if bias is None else bias.to(dtype))
    return result.view(b, h, w, out).permute(0, 3, 1, 2)


def _by_torchvision(
    x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, stride: int
) -> Tensor:
    kernel = (weight.shape[2], weight.shape[3])
    left, right, top, bottom = same_padding(kernel)
    with torch.autocast(x.device.type, enabled=False):  # the operator has no bfloat16 kernel
        dtype = torch.promote_types(x.dtype, torch.float32)
        x, offsets, weight = x.to(dtype), offsets.to(dtype), weight.to(dtype)
        if (left, top) != (right, bottom):
            x, left, top = F.pad(x, (left, right, top, bottom)), 0, 0
        result: Tensor = deform_conv2d(
            x,
            offsets,
            weight,
            None if bias is None else bias.to(dtype),
            stride=(stride, stride),
            padding=(top, left),
            mask=None if mask is None else mask.to(dtype),
        )
        return result


def _by_rows(
    x: Tensor,
    offsets: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: int,
    relu: bool = False,
) -> Tensor:
    """All taps are read at once, then the convolution is one matrix product. Memory: kh * kw * C * h * w."""
    b, _, in_h, in_w = x.shape
    out, c, kh, kw = weight.shape
    h, w = offsets.shape[2:]
    with torch.autocast(x.device.type, enabled=False):
        dtype = torch.promote_types(x.dtype, torch.float32)
        points = sampling_points(offsets.to(dtype), (kh, kw), stride=stride)  # (B, taps, h, w, 2)
        size = torch.tensor([in_h, in_w], dtype=torch.int32)
        frames = torch.arange(b, dtype=torch.int32).view(-1, 1, 1, 1, 1) * (in_h * in_w)
        cells, factors = _corners(points, size, frames, longest=max(in_h, in_w))
        if mask is not None:
            factors = factors * mask.to(dtype)[..., None]
        cells, factors = (value.permute(0, 2, 3, 1, 4).reshape(-1, kh * kw, 4) for value in (cells, factors))
        table = x.to(dtype).permute(0, 2, 3, 1).reshape(-1, c)  # no copy where x is channels-last
        flat_weight = weight.to(dtype).permute(0, 2, 3, 1).flatten(1)  # (O, taps * C)
        flat_bias = None if bias is None else bias.to(dtype)
        rows = _Reading.apply(table, cells, factors, flat_weight, flat_bias, relu)  # type: ignore[no-untyped-call]
    maps: Tensor = rows.view(b, h, w, out).permute(0, 3, 1, 2)
    return maps


def _corners(points: Tensor, size: Tensor, first: Tensor, *, longest: int) -> tuple[Tensor, Tensor]:
    """The four cells around each point, as rows of all maps' cells, and their factors.

    Args:
        points: (..., 2), (y, x) in cells of the point's map.
        size: int32, (h, w) of that map on the last axis.
        first: int32, the row of its first cell; shapes broadcast to (..., 1).
        longest: the longest side of all maps.

    Returns:
        cells (..., 4) int32 and bilinear factors (..., 4), 0 for cells outside of the map.
    """
    height, width = size[..., :1], size[..., 1:]
    with torch.no_grad():
        low = points.floor()
    inside = points - low
    y0, x0 = low.nan_to_num().clamp(-2, longest).int().unbind(dim=-1)
    y, x = torch.stack([y0, y0, y0 + 1, y0 + 1], dim=-1), torch.stack([x0, x0 + 1, x0, x0 + 1], dim=-1)
    down, right = inside.unbind(dim=-1)
    up, left = 1 - down, 1 - right
    factors = torch.stack([up * left, up * right, down * left, down * right], dim=-1)
    exists = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    cells = first + y.clamp(min=0).minimum(height - 1) * width + x.clamp(min=0).minimum(width - 1)
    return cells, factors * exists


def deform_conv_rows(
    rows: Tensor, offsets: Tensor, weight: Tensor, *, sizes: Sequence[tuple[int, int]], relu: bool = False
) -> Tensor:
    """`deform_conv` of the maps of several levels at once, on the CPU.

    Args:
        rows: (B, P, C), the cells of all levels, level by level.
        offsets: (B, P, 2 * kh * kw), (dy, dx) for each tap in row order, in cells.
        weight: (O, C, kh, kw).
        sizes: (h, w) of each level.
        relu: whether a ReLU follows.

    Returns:
        (B, P, O).
    """
    b, p, c = rows.shape
    frames = torch.arange(b, dtype=torch.int32).view(-1, 1) * p
    reads = reads_of(torch.arange(p), offsets, first=frames, sizes=sizes, kernel=(weight.shape[2], weight.shape[3]))
    corners, factors = (value.flatten(0, 1) for value in reads)
    return deform_conv_reads(rows.reshape(-1, c), corners, factors, weight=weight, relu=relu).view(b, p, -1)


def reads_of(
    cells: Tensor, offsets: Tensor, *, first: Tensor, sizes: Sequence[tuple[int, int]], kernel: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Between which rows of a table a deformable convolution reads at some cells of the maps of several levels.

    Args:
        cells: (N,), numbered in their frame, level by level.
        offsets: (..., N, 2 * kh * kw), (dy, dx) for each tap in row order, in cells.
        first: int32, broadcast to (..., N): the row of the first cell of the frame.
        sizes: (h, w) of each level.
        kernel: (kh, kw).

    Returns:
        Rows (..., N, kh * kw, 4) int32 and bilinear factors of that shape, 0 for what lies outside of the level.
    """
    taps, size, start = (value[cells] for value in _level_cells(tuple(sizes), kernel))
    points = torch.unflatten(offsets, -1, (-1, 2)) + taps.to(offsets.dtype)
    return _corners(points, size, first[..., None, None] + start, longest=max(map(max, sizes)))


def deform_conv_reads(table: Tensor, rows: Tensor, factors: Tensor, *, weight: Tensor, relu: bool = False) -> Tensor:
    """A deformable convolution that reads between the rows of a table (R, C), on the CPU.

    Args:
        table: (R, C).
        rows, factors: (N, kh * kw, 4), see `reads_of`.
        weight: (O, C, kh, kw).
        relu: whether a ReLU follows.

    Returns:
        (N, O).
    """
    flat_weight = weight.permute(0, 2, 3, 1).flatten(1)  # (O, taps * C)
    result: Tensor = _Reading.apply(table, rows, factors, flat_weight, None, relu)  # type: ignore[no-untyped-call]
    return result


@lru_cache(maxsize=64)
def _level_cells(sizes: tuple[tuple[int, int], ...], kernel: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Of all levels' P cells: what the taps read without offsets (P, taps, 2), and the level's size (P, 1, 2) and first
    cell (P, 1, 1)."""
    taps = kernel[0] * kernel[1]
    with torch.inference_mode(False):  # training uses the same
        points = [sampling_points(torch.zeros(1, 2 * taps, h, w), kernel)[0].flatten(1, 2) for h, w in sizes]
        cells = torch.tensor([h * w for h, w in sizes])
        size = torch.tensor(sizes, dtype=torch.int32).repeat_interleave(cells, dim=0)
        first = (cells.cumsum(0) - cells).int().repeat_interleave(cells)
        return torch.cat(points, dim=1).transpose(0, 1).contiguous(), size[:, None], first[:, None, None]


class _Reading(torch.autograd.Function):
    """Reads a table (R, C) between its rows, and multiplies what all taps of a cell read (N, taps * C).

    In training, few anchors have a gradient (objects, and the hardest of the background), so gradients are computed
    for the cells that have one.
    """

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, cells: Tensor, factors: Tensor, weight: Tensor, bias: Tensor | None, relu: bool
    ) -> Tensor:
        taps = cells.shape[1]
        read = bag_sums(table, cells.flatten(0, 1), factors.flatten(0, 1)).view(len(cells), taps * table.shape[1])
        result = product(read, weight, bias, relu=relu)
        ctx.save_for_backward(table, cells, factors, weight, read, *([result] if relu else []))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (table, cells, factors, weight, read, *result) = grads, ctx.saved_tensors
        need_table, _, need_factors, need_weight, need_bias, _ = ctx.needs_input_grad
        grad_table = grad_factors = grad_weight = grad_bias = None
        if result:
            grad = through_relu(grad, result[0])
        if need_bias:
            grad_bias = grad.sum(dim=0)
        some = grad.abs().sum(dim=1).nonzero().flatten()
        everywhere = 2 * len(some) > len(grad)
        if not everywhere:
            more = usual_size(len(some)) - len(some)  # zeros, of the first cell
            grad, cells, kept_factors = F.pad(grad[some], (0, 0, 0, more)), cells[some], factors[some]
            read = read[F.pad(some, (0, more))]
        else:
            kept_factors = factors
        if need_weight:
            grad_weight = product(grad.t(), read.t())
        if need_table or need_factors:
            grad_read = product(grad, weight.t())[: len(cells)].view(-1, table.shape[1])
            corners = cells.flatten(0, 1)
            if need_table:
                grad_table = table_gradient(grad_read, corners, kept_factors.flatten(0, 1), table_rows=len(table))
            if need_factors:
                grad_factors = factor_gradient(grad_read, table, corners).view(kept_factors.shape)
                if not everywhere:
                    grad_factors = torch.zeros_like(factors).index_copy_(0, some, grad_factors)
        return grad_table, None, grad_factors, grad_weight, grad_bias, None
