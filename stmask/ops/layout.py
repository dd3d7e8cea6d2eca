"""The one anchor order: inside a level row, then column, then anchor shape; levels one after another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def anchors_last(maps: Sequence[Tensor]) -> Tensor:
    """One level's outputs, k maps (B, C, h, w), one for each anchor shape, as (B, h * w * k, C)."""
    stacked = torch.stack(list(maps), dim=1)  # (B, k, C, h, w)
    b, k, c, h, w = stacked.shape
    return stacked.permute(0, 3, 4, 1, 2).reshape(b, h * w * k, c)
