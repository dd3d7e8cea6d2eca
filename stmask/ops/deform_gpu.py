"""What the taps of a deformable convolution read, by one kernel of Triton's: features channels-last, any precision."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS = 16  # pairs of cell and tap of one program


def sample_taps(
    x: Tensor, offsets: Tensor, mask: Tensor | None, *, kernel: tuple[int, int], stride: int, corner: tuple[int, int]
) -> Tensor:
    """The features under every tap of every output cell, bilinear, zero outside the map.

    Args:
        x: (B, C, H, W), channels-last in memory.
        offsets: (B, 2 * taps, h, w) float32.
        mask: (B, taps, h, w) float32 factors, or None.
        kernel: (kh, kw).
        stride: step between output cells.
        corner: (top, left) padding.

    Returns:
        (B * h * w, taps * C) of the dtype of x; places and sums are float32.
    """
    b, c, in_h, in_w = x.shape
    h, w = offsets.shape[2:]
    taps = kernel[0] * kernel[1]
    rows = b * h * w * taps
    out = torch.empty(b * h * w, taps * c, dtype=x.dtype, device=x.device)
    factors = offsets if mask is None else mask
    _sample[(triton.cdiv(rows, _ROWS),)](
        x, offsets, factors, out, rows, h, w, in_h, in_w,
        *offsets.stride(), *factors.stride(),
        C=c, PADDED_C=triton.next_power_of_2(c), TAPS=taps, KW=kernel[1], STRIDE=stride, TOP=corner[0], LEFT=corner[1],
        MASKED=mask is not None, ROWS=_ROWS,
    )  # fmt: skip
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _sample(  # type: ignore[no-untyped-def]
    x, offsets, factors, out, rows, h, w, in_h, in_w,
    offset_b, offset_c, offset_h, offset_w, factor_b, factor_c, factor_h, factor_w,
    C: tl.constexpr, PADDED_C: tl.constexpr, TAPS: tl.constexpr, KW: tl.constexpr, STRIDE: tl.constexpr,
    TOP: tl.constexpr, LEFT: tl.constexpr, MASKED: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    real = row < rows
    tap = row % TAPS
    cell = row // TAPS
    column = cell % w
    line = (cell // w) % h
    image = cell // (w * h)
    place = offsets + image * offset_b + line * offset_h + column * offset_w + 2 * tap * offset_c
    y = tl.load(place, mask=real, other=0.0) + (line * STRIDE + tap // KW - TOP).to(tl.float32)
    x_at = tl.load(place + offset_c, mask=real, other=0.0) + (column * STRIDE + tap % KW - LEFT).to(tl.float32)
    inside = real & (y > -1) & (x_at > -1) & (y < in_h) & (x_at < in_w)  # false for what is not a number
    y = tl.where(inside, y, 0.0)
    x_at = tl.where(inside, x_at, 0.0)
    low_y = tl.floor(y)
    low_x = tl.floor(x_at)
    part_y = y - low_y
    part_x = x_at - low_x
    factor = tl.where(inside, 1.0, 0.0)
    if MASKED:
        factor *= tl.load(
            factors + image * factor_b + tap * factor_c + line * factor_h + column * factor_w, mask=real, other=0.0
        )
    channel = tl.arange(0, PADDED_C)
    used = channel < C
    total = tl.zeros((ROWS, PADDED_C), dtype=tl.float32)
    first_y = low_y.to(tl.int32)
    first_x = low_x.to(tl.int32)
    for corner in tl.static_range(4):
        at_y = first_y + corner // 2
        at_x = first_x + corner % 2
        weight_y = part_y if corner // 2 else 1 - part_y
        weight_x = part_x if corner % 2 else 1 - part_x
        on_map = inside & (at_y >= 0) & (at_x >= 0) & (at_y < in_h) & (at_x < in_w)
        source = x + ((image * in_h + at_y) * in_w + at_x)[:, None] * C + channel[None, :]
        values = tl.load(source, mask=on_map[:, None] & used[None, :], other=0.0).to(tl.float32)
        total += values * (weight_y * weight_x * factor)[:, None]
    target = out + row[:, None].to(tl.int64) * C + channel[None, :]
    tl.store(target, total.to(out.dtype.element_ty), mask=real[:, None] & used[None, :])
