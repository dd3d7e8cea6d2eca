"""Masks that are put together from the quarters of a box, each with coefficients of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from stmask.models.sipmask.head import QUARTERS

STRIDE = 2
"""Pixels of a cell of the prototypes."""
_MIDDLE = 0.1  # cells by which the quarters of the two sides together are longer than the box


def quarter_logits(prototypes: Tensor, coefficients: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The masks of N instances before their sigmoid, in which each cell has the coefficients of its quarter.

    Args:
        prototypes: (D, h, w).
        coefficients: (N, 4 * D), as of `SipMaskMaps`.
        boxes: (N, 4) xyxy in cells; cell k is in a box where x1 <= k < x2.

    Returns:
        Logits (N, h, w), and which cells are in the box (N, h, w) bool: the mask is 0 elsewhere.
    """
    (d, h, w), n = prototypes.shape, len(boxes)
    logits = (coefficients.reshape(n * QUARTERS, d) @ prototypes.flatten(1)).view(n, QUARTERS, h, w)
    x, y = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) for size in (w, h))
    inside_x, left = _halves(x, boxes[:, 0], boxes[:, 2])  # (N, w)
    inside_y, upper = _halves(y, boxes[:, 1], boxes[:, 3])  # (N, h)
    left, upper = left[:, None, :], upper[:, :, None]
    chosen = torch.where(
        upper,
        torch.where(left, logits[:, 0], logits[:, 1]),
        torch.where(left, logits[:, 2], logits[:, 3]),
    )
    return chosen, inside_y[:, :, None] & inside_x[:, None, :]


def _halves(cells: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Which cells (L,) are between low (N,) and high (N,), and which of them in the first half: (N, L) bool each."""
    low, high = low[:, None], high[:, None]
    return (cells >= low) & (cells < high), (cells - low) / ((high - low + _MIDDLE) / 2) < 1
