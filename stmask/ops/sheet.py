"""Maps of several levels side by side on one sheet, so that a convolution is one call for all of them.

Between the maps lie cells that are zero, as many as the widest kernel reads beyond a map's border: they are the padding
of "same" convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stmask.ops.cells import Sizes
from stmask.ops.deform import same_padding
from stmask.ops.kernels import is_plain_cpu

_FEW_VALUES = (
    2**16
)  # of all levels of a frame: with more the calls cost little, and the cells between the maps cost more


@dataclass(frozen=True, slots=True)
class Sheet:
    """Where the maps of L levels lie.

    Attributes:
        sizes: (h, w) of each level.
        corners: (top, left) of each level.
        height, width: of the sheet.
    """

    sizes: Sizes
    corners: tuple[tuple[int, int], ...]
    height: int
    width: int

    def joined(self, maps: Sequence[Tensor]) -> Tensor:
        """The maps (B, C, h, w) of the levels as one (B, C, height, width), zero between them."""
        sheet: Tensor = _Joined.apply(self, *maps)  # type: ignore[no-untyped-call]
        return sheet

    def rows(self, sheet: Tensor) -> Tensor:
        """The cells of the levels of a sheet (B, C, height, width), level by level: (B, P, C)."""
        rows: Tensor = _Rows.apply(self, sheet)  # type: ignore[no-untyped-call]
        return rows

    def maps(self, rows: Tensor) -> list[Tensor]:
        """The maps (B, C, h, w) of the levels from their cells (B, P, C)."""
        parts = torch.split(rows, [h * w for h, w in self.sizes], dim=1)
        return [part.view(len(rows), h, w, -1).permute(0, 3, 1, 2) for part, (h, w) in zip(parts, self.sizes)]

    def inside(self, like: Tensor) -> Tensor:
        """(1, 1, height, width): 1 in a map, 0 between them."""
        return _inside(self, like.dtype)

    def places(self, cells: Tensor) -> list[Tensor]:
        """Where the levels lie in (B, height, width, ...): a view of each."""
        return [cells[:, top : top + h, left : left + w] for (h, w), (top, left) in zip(self.sizes, self.corners)]


def sheet_for(maps: Sequence[Tensor], kernels: Sequence[tuple[int, int]]) -> Sheet | None:
    """The sheet of maps (B, C, h, w) for these kernels, and 3x3; None where one call for each level is as good."""
    values = sum(x.shape[1] * x.shape[2] * x.shape[3] for x in maps)
    if len(maps) < 2 or values > _FEW_VALUES or not is_plain_cpu(maps[0]):
        return None
    return _packed(tuple((x.shape[2], x.shape[3]) for x in maps), max(max(same_padding(k)) for k in [(3, 3), *kernels]))


@lru_cache(maxsize=64)
def _packed(sizes: Sizes, gap: int) -> Sheet:
    """Each map at the place that keeps the sheet smallest, `gap` cells from those before it."""
    reach = sum(max(size) for size in sizes) + gap * len(sizes)
    taken = np.zeros((reach, reach), dtype=np.bool_)
    corners, height, width = [], 0, 0
    for h, w in sizes:
        sums = np.pad(taken.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        free = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w] == 0
        tops, lefts = free.nonzero()
        grown = np.maximum(tops + h, height) * np.maximum(lefts + w, width)
        best = int(np.lexsort((lefts, tops, grown))[0])
        top, left = int(tops[best]), int(lefts[best])
        taken[max(0, top - gap) : top + h + gap, max(0, left - gap) : left + w + gap] = True
        corners.append((top, left))
        height, width = max(height, top + h), max(width, left + w)
    return Sheet(sizes, tuple(corners), height, width)


@lru_cache(maxsize=64)
def _inside(sheet: Sheet, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # training uses the same
        inside = torch.zeros(1, sheet.height, sheet.width, 1, dtype=dtype)
        for place in sheet.places(inside):
            place.fill_(1)
        return inside.permute(0, 3, 1, 2)


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sheet: Sheet, *maps: Tensor) -> Tensor:
        ctx.sheet = sheet
        b, c = maps[0].shape[:2]
        cells = maps[0].new_zeros(b, sheet.height, sheet.width, c)
        for place, one in zip(sheet.places(cells), maps, strict=True):
            place.copy_(one.permute(0, 2, 3, 1))
        return cells.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        places = ctx.sheet.places(grads[0].permute(0, 2, 3, 1))
        return None, *(place.contiguous().permute(0, 3, 1, 2) for place in places)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sheet: Sheet, x: Tensor) -> Tensor:
        ctx.sheet = sheet
        return torch.cat([place.flatten(1, 2) for place in sheet.places(x.permute(0, 2, 3, 1))], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        sheet, rows = ctx.sheet, grads[0]
        cells = rows.new_zeros(len(rows), sheet.height, sheet.width, rows.shape[2])
        parts = torch.split(rows, [h * w for h, w in sheet.sizes], dim=1)
        for place, part in zip(sheet.places(cells), parts):
            place.copy_(part.reshape(place.shape))
        return None, cells.permute(0, 3, 1, 2)
