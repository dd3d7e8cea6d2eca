"""3x3 convolutions over many small regions with a third of the multiplications: Winograd's F(4x4, 3x3).

A tile of 4 x 4 outputs is computed from its 6 x 6 inputs by 36 products in place of 144 (Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks", CVPR 2016). Rounding stays below 1e-6 of the largest output.

Regions lie as (side + 3, side + 3, N, C): a border of one cell before and two after, so that what the transforms mix
are whole rows of memory. For inference on the CPU, in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stmask.ops.kernels import product

_TILE, _PATCH = 4, 6
_INPUT = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
_WEIGHT = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
_OUTPUT = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)


def transformed(weight: Tensor) -> Tensor:
    """A weight (O, C, 3, 3) as (36, O, C), four times its size."""
    g = torch.tensor(_WEIGHT, dtype=torch.float64)
    u = torch.einsum("ai,ocij,bj->aboc", g, weight.double(), g)
    return u.flatten(0, 1).to(weight.dtype).contiguous()


def laid_out(regions: Tensor) -> Tensor:
    """Regions (N, C, side, side) with their border, (side', side', N, C)."""
    n, c, side, _ = regions.shape
    inner = -(-side // _TILE) * _TILE
    grid = regions.new_zeros(inner + 2, inner + 2, n, c)
    grid[1 : side + 1, 1 : side + 1] = regions.permute(2, 3, 0, 1)
    return grid


def conv_relu(grid: Tensor, weight: Tensor, bias: Tensor, *, side: int) -> Tensor:
    """A "same" convolution and a ReLU.

    Args:
        grid: (side', side', N, C) from `laid_out` or from here.
        weight: (36, O, C), `transformed`.
        bias: (O,).
        side: of the regions.

    Returns:
        (side', side', N, O), the border zero again.
    """
    _, _, n, c = grid.shape
    tiles, out = -(-side // _TILE), weight.shape[1]
    patches = grid.unfold(0, _PATCH, _TILE).unfold(1, _PATCH, _TILE).permute(4, 5, 0, 1, 2, 3)
    inputs = _twice(_INPUT, grid) @ patches.reshape(_PATCH**2, -1)
    inputs = inputs.view(_PATCH**2, tiles**2 * n, c)
    products = grid.new_empty(_PATCH**2, tiles**2 * n, out)
    for place, rows in enumerate(inputs):
        products[place] = product(rows, weight[place])
    outputs = (_twice(_OUTPUT, grid) @ products.flatten(1)).view(_TILE, _TILE, tiles, tiles, n, out)
    cells = outputs.permute(2, 0, 3, 1, 4, 5).reshape(tiles * _TILE, tiles * _TILE, n, out)
    result = torch.zeros(grid.shape[0], grid.shape[1], n, out, dtype=grid.dtype)
    torch.add(cells[:side, :side], bias, out=result[1 : side + 1, 1 : side + 1]).relu_()
    return result


def _twice(matrix: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """The transform of rows and columns at once."""
    one = like.new_tensor(matrix)
    return torch.kron(one, one)
