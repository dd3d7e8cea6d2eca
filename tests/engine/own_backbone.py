"""A backbone of somebody's own, as their package would have it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Strided(nn.Module):
    """One convolution for each stride; `gain` is a buffer that is not in its state, and a plain tensor."""

    def __init__(self, *, channels: int = 4) -> None:
        super().__init__()
        self.out_channels = dict.fromkeys(("C3", "C4", "C5"), channels)
        self.stages = nn.ModuleList(nn.Conv2d(3, channels, 2**n, stride=2**n) for n in (3, 4, 5))
        self.register_buffer("gain", torch.ones(1), persistent=False)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        return {name: self.gain * stage(frames) for name, stage in zip(self.out_channels, self.stages, strict=True)}
