"""Layers around `ops.conv`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stmask.ops.conv import conv2d
from stmask.ops.deform import same_padding
from stmask.ops.group_norm import group_norm


class Conv2d(nn.Conv2d):
    """A convolution by `ops.conv.conv2d`.

    Args:
        in_channels, out_channels: of the maps.
        kernel: its side, or (h, w).
        stride: step between output cells.
        padding: rows and columns of zeros on each side.
        few: whether it is likely that few output cells get a gradient, see `ops.conv.conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        few: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, padding=padding)
        self.few = few

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, h, w)."""
        stride, (down, right) = self.stride, map(int, self.padding)
        return conv2d(x, self.weight, self.bias, stride=(stride[0], stride[1]), padding=(down, right), few=self.few)


class SameConv2d(Conv2d):
    """A stride-1 convolution that keeps h x w for any kernel, even ones included."""

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int], *, few: bool = False) -> None:
        kh, kw = kernel
        odd = kh % 2 == 1 and kw % 2 == 1
        super().__init__(in_channels, out_channels, kernel, padding=(kh // 2, kw // 2) if odd else 0, few=few)
        self.kernel = kernel
        self._pad = None if odd else same_padding(kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, h, w) to (B, out, h, w)."""
        return super().forward(x if self._pad is None else F.pad(x, self._pad))


class GroupNorm(nn.GroupNorm):
    """Group normalisation by `ops.group_norm`."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, h, w), normalised."""
        return group_norm(x, self.num_groups, weight=self.weight, bias=self.bias, eps=self.eps)
