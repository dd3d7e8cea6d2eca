"""Prototypes: the image-wide masks that instances combine."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stmask.models.layers.conv import Conv2d, conv_relu
from stmask.number_checks import require_integer


class ProtoNet(nn.Module):
    """P3 to D prototypes at twice its resolution, a quarter of the input's.

    Args:
        channels: channels of P3 and of the hidden convolutions.
        num_prototypes: D.
    """

    def __init__(self, *, channels: int = 256, num_prototypes: int = 32) -> None:
        super().__init__()
        require_integer(channels=channels, num_prototypes=num_prototypes)
        self.num_prototypes = num_prototypes
        self.before = nn.ModuleList(Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        self.after = Conv2d(channels, channels, 3, padding=1)
        self.output = Conv2d(channels, num_prototypes, 1)

    def forward(self, p3: Tensor) -> Tensor:
        """(B, C, h, w) to (B, 2h, 2w, D), not negative."""
        x = p3
        for conv in self.before:
            x = conv_relu(conv, x)
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        prototypes: Tensor = conv_relu(self.output, conv_relu(self.after, x))
        return prototypes.permute(0, 2, 3, 1).contiguous()
