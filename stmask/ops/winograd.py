"""3x3 convolutions with fewer multiplications, by Winograd's tiles, for inference on the CPU in float32.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. Many small regions: F(4x4, 3x3), a tile
of 4 x 4 outputs from its 6 x 6 inputs by 36 products in place of 144; rounding stays below 1e-6 of the largest output.
Regions lie as (side + 3, side + 3, N, C): a border of one cell before and two after, so that what the transforms mix
are whole rows of memory. Wide maps: F(2x2, 3x3), 16 products in place of 36, with the rounding of any float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from stmask.ops.kernels import by_onednn, product, state_of

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

_MAP_WEIGHT = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
_EVERYWHERE = 5  # the product that each output of a tile holds once, and so the one to add a bias to
_VALUES_AT_ONCE = 2**20  # to stay in the processor's cache
_prepared = WeakTensorKeyDictionary()  # of weights: their state and what was made of them, once there is something


def transformed(weight: Tensor) -> Tensor:
    """A weight (O, C, 3, 3) as (36, O, C), four times its size."""
    return _by(_WEIGHT, weight)


def _by(matrix: tuple[tuple[float, ...], ...], weight: Tensor) -> Tensor:
    """A weight (O, C, 3, 3), its rows and columns transformed by a matrix (n, 3): (n * n, O, C)."""
    g = torch.tensor(matrix, dtype=torch.float64)
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


def prepare(model: nn.Module) -> None:
    """Lets a model's 3x3 convolutions go by `conv_map` where that is faster. Their weights aren't trained any more."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.groups == 1:
            _prepared[module.weight] = None


def prepared(x: Tensor, weight: Tensor) -> Tensor | None:
    """What `conv_map` needs of a weight, if it is the faster way to convolve maps x (B, C, h, w) with it."""
    if weight not in _prepared or not by_onednn(x):
        return None
    narrow, cells = min(weight.shape[:2]), x.shape[2] * x.shape[3]
    if not any(narrow >= channels and cells >= least for channels, least in _pays()):
        return None
    made, now = _prepared[weight], state_of(weight)
    if made is None or made[0] != now:
        made = _prepared[weight] = now, _transformed_for_maps(weight.detach())
    tiles: Tensor = made[1]
    return tiles


def conv_map(x: Tensor, weight: Tensor, bias: Tensor | None, *, relu: bool) -> Tensor:
    """A 3x3 convolution with a border of one zero, stride 1.

    Args:
        x: (B, C, h, w), channels-last.
        weight: (16, O, C), from `prepared`.
        bias: (O,).
        relu: whether a ReLU follows.

    Returns:
        (B, O, h, w), channels-last.
    """
    (b, c, h, w), out = x.shape, weight.shape[1]
    down, across = -(-h // 2), -(-w // 2)  # tiles
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1 + 2 * across - w, 1, 1 + 2 * down - h))
    result = x.new_empty(b, down, 2, across, 2, out)
    lines = max(1, _VALUES_AT_ONCE // (16 * across * max(c, out)))
    for frame in range(b):
        for top in range(0, down, lines):
            n = min(lines, down - top)
            rows = x.new_empty(4, n, 2 * across + 2, c)
            mine = padded[frame, 2 * top : 2 * (top + n) + 2]
            _input_transform([mine[i : i + 2 * n - 1 : 2] for i in range(4)], rows)
            inputs = x.new_empty(4, 4, n, across, c)
            _input_transform([rows[:, :, i : i + 2 * across - 1 : 2] for i in range(4)], inputs)
            products = x.new_empty(16, n * across, out)
            for place, values in enumerate(inputs.view(16, n * across, c)):
                products[place] = product(values, weight[place], bias if place == _EVERYWHERE else None)
            columns = products.view(4, 4, n, across, out)
            left, right = columns[0].add_(columns[1]).add_(columns[2]), columns[1].sub_(columns[2]).sub_(columns[3])
            for side, part in enumerate((left, right)):
                torch.add(part[0].add_(part[1]), part[2], out=result[frame, top : top + n, 0, :, side])
                torch.sub(part[1].sub_(part[2]), part[3], out=result[frame, top : top + n, 1, :, side])
    maps = result.view(b, 2 * down, 2 * across, out)[:, :h, :w].contiguous()
    return (maps.relu_() if relu else maps).permute(0, 3, 1, 2)


def _input_transform(four: list[Tensor], out: Tensor) -> None:
    """Of the four inputs of a tile along one axis, into out (4, ...)."""
    a, b, c, d = four
    torch.sub(a, c, out=out[0])
    torch.add(b, c, out=out[1])
    torch.sub(c, b, out=out[2])
    torch.sub(b, d, out=out[3])


def _transformed_for_maps(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) as (16, O, C), columns of tiles before their rows."""
    return _by(_MAP_WEIGHT, weight.mT)


def _pays() -> tuple[tuple[int, int], ...]:
    """Channels and cells of a map from which on `conv_map` was measured to be faster than oneDNN's convolution."""
    return () if torch.backends.cpu.get_cpu_capability() == "AVX512" else ((128, 900), (256, 200))
