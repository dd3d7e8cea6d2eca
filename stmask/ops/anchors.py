"""Anchor boxes: one per cell and anchor shape, centred on the cell."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def level_anchors(
    height: int,
    width: int,
    shapes: Sequence[tuple[float, float]],
    *,
    device: torch.device | None = None,
) -> Tensor:
    """Anchors of one level of height x width cells, in the order of `ops.layout`.

    Args:
        shapes: (h, w) of each anchor in cells of the level.

    Returns:
        (height * width * k, 4) float32, cxcywh in [0, 1] of the padded input; not to be changed, since it is made once.
    """
    made = _anchors if torch.compiler.is_compiling() else _made  # a traced tensor is nobody else's
    return made(height, width, tuple((float(h), float(w)) for h, w in shapes), device or torch.device("cpu"))


@lru_cache(maxsize=128)
def _made(height: int, width: int, shapes: tuple[tuple[float, float], ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # one that is made in inference mode could not be used outside of it
        return _anchors(height, width, shapes, device)


def _anchors(height: int, width: int, shapes: tuple[tuple[float, float], ...], device: torch.device) -> Tensor:
    rows = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
    columns = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
    sizes = torch.tensor([(w / width, h / height) for h, w in shapes], device=device, dtype=torch.float32)
    k = len(shapes)
    cy, cx = torch.meshgrid(rows, columns, indexing="ij")
    centres = torch.stack([cx, cy], dim=-1)[:, :, None].expand(height, width, k, 2)
    return torch.cat([centres, sizes.expand(height, width, k, 2)], dim=-1).reshape(-1, 4)
