"""Layers around `ops.deform`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stmask.models.layers.conv import Conv2d
from stmask.ops.deform import deform_conv


class ModulatedDeformConv(nn.Module):
    """DCNv2, 3x3: a convolution whose taps are moved and weighted by offsets and factors it predicts from its input.

    Starts as half a plain convolution: offsets 0, factors sigmoid(0).
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.offset_mask = Conv2d(in_channels, 27, 3, stride=stride, padding=1)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.offset_mask.weight)
        assert self.offset_mask.bias is not None
        nn.init.zeros_(self.offset_mask.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, h, w) to (B, out, h / stride, w / stride)."""
        return self.with_weight(x, self.weight, self.bias)

    def with_weight(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, relu: bool = False) -> Tensor:
        """The same with another weight and bias, and with a ReLU."""
        offsets, factors = self.offset_mask(x).split([18, 9], dim=1)
        return deform_conv(x, offsets, weight, bias=bias, mask=factors.sigmoid(), stride=self.stride, relu=relu)
