"""Small scenes for the trackers: square objects on a 20 x 20 mask grid, and an obedient temporal module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stmask.models.stmask import Detections, FrameMemory
from stmask.structures import DenseMasks, Frame

GRID = 20
DIM = 4  # embedding and prototype dimensions


def detections(*objects: tuple[int, float, float], size: float = 0.3, label: int = 1) -> Detections:
    """One square object of side `size` for each (identity, x, score): identity decides the embedding, x its place."""
    n = len(objects)
    boxes = torch.tensor([[x, 0.2, x + size, 0.2 + size] for _, x, _ in objects]).view(n, 4)
    embeddings = torch.eye(DIM)[[identity for identity, _, _ in objects]] if n else torch.zeros(0, DIM)
    cells = torch.arange(GRID) / GRID
    columns = (cells >= boxes[:, None, 0]) & (cells < boxes[:, None, 2])
    rows = (cells >= boxes[:, None, 1]) & (cells < boxes[:, None, 3])
    return Detections(
        boxes=boxes,
        scores=torch.tensor([score for _, _, score in objects]),
        labels=torch.full((n,), label),
        centerness=torch.ones(n),
        mask_coeffs=torch.full((n, DIM), 3.0),
        embeddings=embeddings,
        masks=DenseMasks((rows[:, :, None] & columns[:, None, :]).float()),
    )


class Shift:
    """A temporal module that moves every instance by `dx` of its width; records what it was asked."""

    def __init__(self, dx: float = 0.0) -> None:
        self.dx = dx
        self.asked: list[int] = []

    def fuse(self, reference: Tensor, target: Tensor) -> Tensor:
        return torch.cat([reference, target], dim=1)

    def __call__(self, fused: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        n = sum(len(b) for b in boxes)
        self.asked.append(n)
        return torch.tensor([self.dx / 0.1, 0.0, 0.0, 0.0]).repeat(n, 1), torch.zeros(n, DIM)


def memory(temporal: Shift | None = None) -> FrameMemory:
    """Prototypes that are positive everywhere, so that a shifted mask fills its box."""
    return FrameMemory(torch.ones(GRID, GRID, DIM), torch.zeros(1, 2, 4, 4), temporal or Shift())


def shown(found: Detections, temporal: Shift | None = None) -> Frame:
    """A frame in which these were detected."""
    return Frame(found, memory(temporal))
