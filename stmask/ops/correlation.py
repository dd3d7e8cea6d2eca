"""Local correlation of two feature maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BACKENDS = ("torch", "sampler")


def correlate(reference: Tensor, target: Tensor, *, size: int, backend: str = "torch") -> Tensor:
    """corr[(i, j), y, x] = <reference(y, x), target(y + i, x + j)> / C for a size x size window; zero outside the map.

    Args:
        reference, target: (B, C, h, w).
        size: side d of the window, odd.
        backend: "torch" (banded matrix products), or "sampler" (the compiled spatial-correlation-sampler, an extra).

    Returns:
        (B, d * d, h, w); channel (i + r) * d + (j + r) with r = (d - 1) / 2.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the side of the correlation window must be odd, got {size}")
    if backend == "torch":
        in_turn = reference.device.type == "cpu"
        return _banded(reference, target, size) if in_turn else _banded_at_once(reference, target, size)
    if backend == "sampler":
        return _sampled(reference, target, size)
    raise ValueError(f"correlation backend must be one of {', '.join(BACKENDS)}, got {backend!r}")


def _banded(reference: Tensor, target: Tensor, size: int) -> Tensor:
    """For each row shift one batched product of all columns with all columns, of which only a band is kept.

    It computes more than it keeps, yet as matrix products: far faster than sampling on CPU and free of new kernels.
    """
    b, c, h, w = reference.shape
    radius = size // 2
    rows = (reference / c).permute(0, 2, 3, 1)  # (B, h, w, C)
    padded = F.pad(target, (radius, radius, radius, radius)).permute(0, 2, 1, 3)  # (B, h + 2r, C, span)
    bands = []
    for shift in range(size):
        full = torch.matmul(rows, padded[:, shift : shift + h])  # (B, h, w, span)
        bands.append(_band(full, size))
    return torch.stack(bands, dim=1).permute(0, 1, 4, 2, 3).reshape(b, size * size, h, w)


def _band(full: Tensor, size: int) -> Tensor:
    """Column x of (B, h, w, span) from its entry x on, `size` entries: (B, h, w, size)."""
    b, h, w, span = full.shape
    if torch.compiler.is_exporting():  # a view across rows has no name in other formats: the same by shifting rows
        return F.pad(full.flatten(2), (0, w)).view(b, h, w, span + 1)[..., :size]
    return full.contiguous().as_strided((b, h, w, size), (h * w * span, w * span, span + 1, 1))


def _banded_at_once(reference: Tensor, target: Tensor, size: int) -> Tensor:
    """As `_banded`, with one product for all row shifts: 4 kernels, of a GPU's, in place of 4 for each shift."""
    b, c, h, w = reference.shape
    radius = size // 2
    rows = (reference / c).permute(0, 2, 3, 1)[:, None]  # (B, 1, h, w, C)
    padded = F.pad(target, (radius, radius, radius, radius))
    shifted = padded.unfold(2, h, 1).permute(0, 2, 4, 1, 3)  # (B, size, h, C, span)
    full = torch.matmul(rows, shifted)  # (B, size, h, w, span)
    band = _band(full.flatten(0, 1), size).view(b, size, h, w, size)
    return band.permute(0, 1, 4, 2, 3).reshape(b, size * size, h, w)


def _sampled(reference: Tensor, target: Tensor, size: int) -> Tensor:
    try:
        from spatial_correlation_sampler import spatial_correlation_sample
    except ImportError as error:
        raise ImportError("backend 'sampler' needs spatial-correlation-sampler: run `make sampler`") from error
    b, c, h, w = reference.shape
    sampled: Tensor = spatial_correlation_sample(reference.contiguous(), target.contiguous(), patch_size=size)
    return sampled.view(b, size * size, h, w) / c
