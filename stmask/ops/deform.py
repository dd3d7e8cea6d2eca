"""Deformable convolution behind one function, by the fastest of three equal ways."""

from __future__ import annotations

import importlib.util
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d


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
) -> Tensor:
    """Deformable convolution with "same" padding (equations 3 and 4; with `mask` the modulated DCNv2).

    Args:
        x: (B, C, H, W).
        offsets: (B, 2 * kh * kw, h, w), (dy, dx) for each tap in row order, in cells; h = ceil(H / stride).
        weight: (O, C, kh, kw).
        bias: (O,).
        mask: (B, kh * kw, h, w) factors of the taps.
        stride: step between output cells.

    Returns:
        (B, O, h, w). Offsets and sampling stay in float32 under autocast: their rounding moves pixels.
    """
    exported = torch.compiler.is_exporting()  # other formats have the operator, under the same name
    if x.device.type == "cpu" and not exported:
        return _by_grid_sample(x, offsets, weight, bias, mask, stride)
    if not torch.is_grad_enabled() and x.is_cuda and _has_triton():
        return _by_triton(x, offsets, weight, bias, mask, stride)
    return _by_torchvision(x, offsets, weight, bias, mask, stride)


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


def _by_grid_sample(
    x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, stride: int
) -> Tensor:
    """All taps are sampled in one call, then the convolution is one matrix product. Memory: kh * kw * C * h * w."""
    b, c, in_h, in_w = x.shape
    out, _, kh, kw = weight.shape
    h, w = offsets.shape[2:]
    taps = kh * kw
    with torch.autocast(x.device.type, enabled=False):
        dtype = torch.promote_types(x.dtype, torch.float32)
        row, column = sampling_points(offsets.to(dtype), (kh, kw), stride=stride).unbind(dim=-1)
        grid = torch.stack([(2 * column + 1) / in_w - 1, (2 * row + 1) / in_h - 1], dim=-1)  # (B, taps, h, w, 2)
        samples = F.grid_sample(x.to(dtype), grid.view(b, taps * h, w, 2), padding_mode="zeros", align_corners=False)
        samples = samples.view(b, c, taps, h, w)
        if mask is not None:
            samples = samples * mask.to(dtype)[:, None]
    result = torch.matmul(weight.flatten(1), samples.reshape(b, c * taps, h * w)).view(b, out, h, w)
    return result if bias is None else result + bias[:, None, None]
