"""Levels on one sheet: where they lie, and that convolutions there are those of each level."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from stmask.ops.conv import conv2d
from stmask.ops.deform import deform_conv, deform_conv_rows
from stmask.ops.sheet import Sheet, sheet_for

SIZES = ((6, 9), (3, 5), (2, 3), (1, 2), (1, 1))


def maps(channels: int = 4, count: int = len(SIZES)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(2, channels, h, w, generator=generator, dtype=torch.float64) for h, w in SIZES[:count]]
    return [one.contiguous(memory_format=torch.channels_last).requires_grad_() for one in made]


def sheet_of(levels: list[torch.Tensor], *kernels: tuple[int, int]) -> Sheet:
    sheet = sheet_for(levels, kernels)
    assert sheet is not None
    return sheet


@pytest.mark.parametrize(("kernel", "gap"), [((3, 3), 1), ((1, 1), 1), ((3, 5), 2), ((2, 4), 2), ((7, 1), 3)])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_levels_lie_apart(kernel: tuple[int, int], gap: int, count: int) -> None:
    sheet = sheet_of(maps(count=count), kernel)
    boxes = [(top, left, top + h, left + w) for (h, w), (top, left) in zip(sheet.sizes, sheet.corners)]
    for (t1, l1, b1, r1), (t2, l2, b2, r2) in combinations(boxes, 2):
        assert max(t2 - b1, t1 - b2, l2 - r1, l1 - r2) >= gap
    assert max(box[2] for box in boxes) == sheet.height
    assert max(box[3] for box in boxes) == sheet.width
    assert sheet.height * sheet.width <= 2.5 * sum(h * w for h, w in sheet.sizes)


def test_the_demos_levels_lie_close() -> None:
    sizes = ((12, 20), (6, 10), (3, 5), (2, 3), (1, 2))
    sheet = sheet_of([torch.zeros(1, 4, *size) for size in sizes], (3, 5))
    assert (sheet.height, sheet.width) == (13, 32)


def test_there_and_back() -> None:
    levels = maps()
    sheet = sheet_of(levels)
    joined = sheet.joined(levels)
    assert torch.equal(joined * sheet.inside(joined), joined)
    assert float(sheet.inside(joined).sum()) == sum(h * w for h, w in SIZES)
    rows = sheet.rows(joined)
    for level, again in zip(levels, sheet.maps(rows), strict=True):
        assert torch.equal(level, again)
    direction = torch.randn_like(rows)
    gradients = torch.autograd.grad(rows, levels, direction)
    for gradient, wanted in zip(gradients, sheet.maps(direction), strict=True):
        assert torch.equal(gradient, wanted)


@pytest.mark.parametrize("kernel", [(3, 3), (3, 5), (5, 3)])
@pytest.mark.parametrize("gradients", [True, False])
def test_layers_of_a_sheet_are_those_of_each_level(kernel: tuple[int, int], gradients: bool) -> None:
    levels, generator = maps(), torch.Generator().manual_seed(1)
    first = torch.randn(4, 4, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    second = torch.randn(3, 4, *kernel, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    padding = (kernel[0] // 2, kernel[1] // 2)
    sheet = sheet_of(levels, kernel)
    with torch.set_grad_enabled(gradients):
        joined = sheet.joined(levels)
        inside = sheet.inside(joined)
        hidden = conv2d(joined, first, bias, padding=(1, 1), relu=True, inside=inside)
        mine = sheet.rows(conv2d(hidden, second, padding=padding))
        hidden_levels = [F.conv2d(x, first, bias, padding=1).relu() for x in levels]
        theirs = torch.cat([F.conv2d(x, second, padding=padding).flatten(2) for x in hidden_levels], dim=2).mT
    torch.testing.assert_close(mine, theirs)
    if gradients:
        direction, inputs = torch.randn_like(mine), (*levels, first, bias, second)
        wanted = torch.autograd.grad(theirs, inputs, direction)
        for a, b in zip(torch.autograd.grad(mine, inputs, direction), wanted, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kernel", [(3, 3), (3, 5), (2, 2)])
def test_deformable_convolution_of_all_levels(kernel: tuple[int, int]) -> None:
    levels, generator = maps(), torch.Generator().manual_seed(1)
    taps = kernel[0] * kernel[1]
    offsets = [3 * torch.randn(2, 2 * taps, h, w, generator=generator, dtype=torch.float64) for h, w in SIZES]
    offsets = [one.requires_grad_() for one in offsets]
    weight = torch.randn(3, 4, *kernel, generator=generator, dtype=torch.float64, requires_grad=True)

    def rows(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([one.flatten(2) for one in values], dim=2).mT

    mine = deform_conv_rows(rows(levels), rows(offsets).contiguous(), weight, sizes=SIZES, relu=True)
    theirs = rows([deform_conv(x, offset, weight, relu=True) for x, offset in zip(levels, offsets)])
    torch.testing.assert_close(mine, theirs)
    direction, inputs = torch.randn_like(mine), (*levels, *offsets, weight)
    wanted = torch.autograd.grad(theirs, inputs, direction)
    for a, b in zip(torch.autograd.grad(mine, inputs, direction), wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_large_maps_and_single_levels_stay_by_themselves() -> None:
    assert sheet_for([torch.zeros(1, 256, 48, 80), torch.zeros(1, 256, 24, 40)], [(3, 3)]) is None
    assert sheet_for([torch.zeros(1, 4, 2, 2)], [(3, 3)]) is None
