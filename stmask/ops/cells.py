"""Convolutions at chosen cells of several maps at once: gathered patches and one matrix product.

The cells of a frame's levels are numbered on through level, row and column. One more, after the last, is zero: what
padding reads. The P + 1 cells of a frame are followed by those of the next frame of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.ops.deform import same_padding
from stmask.ops.kernels import linear, usual_size

Sizes = tuple[tuple[int, int], ...]
"""(h, w) of each level."""


def frame_cells(sizes: Sizes) -> int:
    """P + 1, the cells of one frame."""
    return sum(h * w for h, w in sizes) + 1


def rows_of(maps: Sequence[Tensor]) -> Tensor:
    """The maps (B, C, h, w) of all levels as a row for each cell: (B * (P + 1), C)."""
    levels = [one.permute(0, 2, 3, 1).flatten(1, 2) for one in maps]
    zero = levels[0].new_zeros(levels[0].shape[0], 1, levels[0].shape[2])
    return torch.cat([*levels, zero], dim=1).flatten(0, 1)


def taps_of(cells: Tensor, sizes: Sizes, kernel: tuple[int, int]) -> Tensor:
    """The cells (N, kh * kw) that a kernel with "same" padding reads around each of N cells."""
    table = _tap_table(sizes, kernel, cells.device)
    inside = cells % len(table)
    return table[inside] + (cells - inside)[:, None]


def distinct(cells: Tensor, sizes: Sizes, *, batch_size: int) -> tuple[Tensor, Tensor]:
    """Which cells are among the given ones, the zero cells aside.

    Returns:
        M cells in order, the last of them zero cells where the CPU prefers another M (see `usual_size`), and for each
        of the batch's B * (P + 1) cells its place among them, M for the others.
    """
    wanted = torch.zeros(batch_size, frame_cells(sizes), dtype=torch.bool, device=cells.device)
    wanted.view(-1)[cells.flatten()] = True
    wanted[:, -1] = False
    found = wanted.view(-1).nonzero().flatten()
    count, padded = len(found), filled_up(found, sizes, batch_size=batch_size)
    places = torch.full((wanted.numel(),), len(padded), device=cells.device)
    places[found] = torch.arange(count, device=cells.device)
    return padded, places


def filled_up(cells: Tensor, sizes: Sizes, *, batch_size: int) -> Tensor:
    """The cells (N,), on the CPU followed by zero cells up to `usual_size`."""
    if cells.device.type != "cpu":
        return cells
    return F.pad(cells, (0, usual_size(len(cells)) - len(cells)), value=batch_size * frame_cells(sizes) - 1)


def conv_rows(rows: Tensor, taps: Tensor, weight: Tensor, bias: Tensor | None, *, relu: bool = False) -> Tensor:
    """A convolution where it is asked for.

    Args:
        rows: (R, C).
        taps: (N, kh * kw), the row that each tap reads.
        weight: (O, C, kh, kw).
        bias: (O,).
        relu: whether a ReLU follows.

    Returns:
        (N, O).
    """
    patches = rows.index_select(0, taps.flatten()).view(len(taps), taps.shape[1] * rows.shape[1])
    return linear(patches, weight.permute(0, 2, 3, 1).flatten(1), bias, relu=relu)


@lru_cache(maxsize=64)
def _tap_table(sizes: Sizes, kernel: tuple[int, int], device: torch.device) -> Tensor:
    """(P + 1, kh * kw): the cell that each tap reads, P outside the level and around cell P itself."""
    left, right, top, bottom = same_padding(kernel)
    (kh, kw), outside = kernel, frame_cells(sizes) - 1
    with torch.inference_mode(False):  # training uses the same tables
        tables, start = [], 0
        for h, w in sizes:
            numbers = torch.arange(start, start + h * w, device=device).view(h, w)
            padded = F.pad(numbers, (left, right, top, bottom), value=outside)
            tables.append(padded.unfold(0, kh, 1).unfold(1, kw, 1).reshape(h * w, kh * kw))
            start += h * w
        return torch.cat([*tables, torch.full((1, kh * kw), outside, device=device)])
