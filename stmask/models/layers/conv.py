"""Layers around `ops.conv`, and the ReLU after them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.ops.conv import conv2d
from stmask.ops.deform import same_padding
from stmask.ops.group_norm import group_norm

_HALF = (torch.bfloat16, torch.float16)


class Conv2d(nn.Conv2d):
    """A convolution by `ops.conv.conv2d`.

    Args:
        in_channels, out_channels: of the maps.
        kernel: its side, or (h, w).
        stride: step between output cells.
        padding: rows and columns of zeros on each side.
        bias: whether there is one.
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
        bias: bool = True,
        few: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=bias)
        self.few = few

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, h, w)."""
        return self.convolved(x)

    def convolved(self, x: Tensor, *, relu: bool = False, inside: Tensor | None = None) -> Tensor:
        """As `forward`, and with a ReLU; `inside` as in `ops.conv.conv2d`."""
        stride, (down, right) = (self.stride[0], self.stride[1]), map(int, self.padding)
        return conv2d(
            x, self.weight, self.bias, stride=stride, padding=(down, right), few=self.few, relu=relu, inside=inside
        )


class SameConv2d(Conv2d):
    """A stride-1 convolution that keeps h x w for any kernel, even ones included."""

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int], *, few: bool = False) -> None:
        kh, kw = kernel
        odd = kh % 2 == 1 and kw % 2 == 1
        super().__init__(in_channels, out_channels, kernel, padding=(kh // 2, kw // 2) if odd else 0, few=few)
        self.kernel = kernel
        self._pad = None if odd else same_padding(kernel)

    def convolved(self, x: Tensor, *, relu: bool = False, inside: Tensor | None = None) -> Tensor:
        """Maps (B, in, h, w) to (B, out, h, w)."""
        return super().convolved(x if self._pad is None else F.pad(x, self._pad), relu=relu, inside=inside)


class GroupNorm(nn.GroupNorm):
    """Group normalisation by `ops.group_norm`."""

    def forward(self, x: Tensor, *, add: Tensor | None = None, relu: bool = False) -> Tensor:
        """Maps (B, C, h, w), normalised; then plus `add`, and a ReLU of that."""
        return group_norm(x, self.num_groups, weight=self.weight, bias=self.bias, eps=self.eps, add=add, relu=relu)


def grouped_norm(channels: int, *, groups: int, least: int) -> GroupNorm:
    """A group norm over as many groups as divide the channels: at most `groups`, of `least` channels or more."""
    most = min(groups, channels // least)
    return GroupNorm(next((n for n in range(most, 0, -1) if channels % n == 0), 1), channels)


class Tower(nn.Sequential):
    """Convolutions with a ReLU after each.

    Args:
        convs: in order; their names are 0, 2, 4 and so on.
    """

    def __init__(self, *convs: nn.Module) -> None:
        super().__init__(*(layer for conv in convs for layer in (conv, nn.ReLU(inplace=True))))

    def forward(self, x: Tensor, *, inside: Tensor | None = None) -> Tensor:
        """Maps (B, C, h, w) to (B, C', h, w); `inside` as in `ops.conv.conv2d`, for layers `Conv2d`."""
        for conv in self:
            if not isinstance(conv, nn.ReLU):
                x = conv_relu(conv, x, inside=inside)
        return x


def conv_relu(conv: nn.Module, x: Tensor, *, add: Tensor | None = None, inside: Tensor | None = None) -> Tensor:
    """relu(conv(x) + add), by one kernel where there is one: cuDNN has it for half precision without gradients.

    `inside` is for layers `Conv2d`, see `ops.conv.conv2d`.
    """
    if x.is_cuda and isinstance(conv, nn.Conv2d) and conv.weight.dtype in _HALF and not torch.is_grad_enabled():
        return _by_cudnn(conv, x, add)
    if isinstance(conv, Conv2d) and add is None:
        return conv.convolved(x, relu=True, inside=inside)
    y: Tensor = conv(x)
    return F.relu(y if add is None else y + add)


def _by_cudnn(conv: nn.Conv2d, x: Tensor, add: Tensor | None) -> Tensor:
    assert not isinstance(conv.padding, str)
    x = x.to(conv.weight.dtype)
    places = (conv.stride, conv.padding, conv.dilation, conv.groups)
    y: Tensor
    if add is None:
        y = torch.cudnn_convolution_relu(x, conv.weight, conv.bias, *places)
    else:
        y = torch.cudnn_convolution_add_relu(x, conv.weight, add.to(x.dtype), 1.0, conv.bias, *places)
    return y
