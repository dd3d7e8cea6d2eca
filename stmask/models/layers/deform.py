"""Layers around `ops.deform`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.ops.deform import deform_conv, same_padding


class ModulatedDeformConv(nn.Module):
    """DCNv2, 3x3: a convolution whose taps are moved and weighted by offsets and factors it predicts from its input.

    Starts as half a plain convolution: offsets 0, factors sigmoid(0).
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.offset_mask = nn.Conv2d(in_channels, 27, kernel_size=3, stride=stride, padding=1)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.offset_mask.weight)
        assert self.offset_mask.bias is not None
        nn.init.zeros_(self.offset_mask.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, h, w) to (B, out, h / stride, w / stride)."""
        offsets, factors = self.offset_mask(x).split([18, 9], dim=1)
        return deform_conv(x, offsets, self.weight, bias=self.bias, mask=factors.sigmoid(), stride=self.stride)


class SameConv2d(nn.Conv2d):
    """A stride-1 convolution that keeps h x w for any kernel, even ones included."""

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int]) -> None:
        kh, kw = kernel
        odd = kh % 2 == 1 and kw % 2 == 1
        super().__init__(in_channels, out_channels, kernel, padding=(kh // 2, kw // 2) if odd else 0)
        self.kernel = kernel
        self._pad = None if odd else same_padding(kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, h, w) to (B, out, h, w)."""
        return super().forward(x if self._pad is None else F.pad(x, self._pad))
