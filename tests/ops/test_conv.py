"""Convolutions and group norms with gradients of our own: equal to PyTorch's, in values and in all gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.ops import conv
from stmask.ops.conv import conv2d
from stmask.ops.group_norm import group_norm
from stmask.ops.kernels import linear, product


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    value = torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))
    if value.ndim == 4:
        value = value.contiguous(memory_format=torch.channels_last)
    return value.requires_grad_()


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("values_at_once", [1, 2**20])
@pytest.mark.parametrize(
    ("kernel", "padding", "stride"),
    [
        ((1, 1), (0, 0), (1, 1)),
        ((1, 1), (0, 0), (2, 2)),
        ((3, 3), (1, 1), (1, 1)),
        ((3, 5), (1, 2), (1, 1)),
        ((2, 3), (0, 0), (1, 1)),
        ((3, 3), (1, 1), (2, 2)),
    ],
)
def test_a_convolution(
    kernel: tuple[int, int],
    padding: tuple[int, int],
    stride: tuple[int, int],
    values_at_once: int,
    few: bool,
    relu: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conv, "_WIDE", 0)
    monkeypatch.setattr(conv, "_SMALL", 0)
    monkeypatch.setattr(conv, "_PATCH_VALUES", values_at_once)
    inputs = random(2, 3, 6, 7), random(4, 3, *kernel), random(4)
    mine = conv2d(*inputs, padding=padding, stride=stride, few=few, relu=relu)
    theirs = F.conv2d(*inputs, padding=padding, stride=stride)
    theirs = theirs.relu() if relu else theirs
    torch.testing.assert_close(mine, theirs)
    share = torch.rand(2, 1, *mine.shape[2:]) < 0.2
    for direction in (torch.randn_like(mine), torch.randn_like(mine) * share, torch.zeros_like(mine)):
        for a, b in zip(
            torch.autograd.grad(mine, inputs, direction, retain_graph=True),
            torch.autograd.grad(theirs, inputs, direction, retain_graph=True),
        ):
            torch.testing.assert_close(a, b)


def test_a_convolution_under_autocast_is_pytorchs() -> None:
    x, weight = random(1, 4, 5, 5, dtype=torch.float32), random(4, 4, 1, 1, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv2d(x, weight).dtype == torch.bfloat16


@pytest.mark.parametrize("channels", [(4, 5), (16, 3)])
def test_a_convolution_of_float32_with_a_relu(channels: tuple[int, int]) -> None:
    few, many = channels
    inputs = [random(*shape, dtype=torch.float32) for shape in ((2, few, 6, 7), (many, few, 3, 3), (many,))]
    mine, theirs = conv2d(*inputs, padding=(1, 1), relu=True), F.conv2d(*inputs, padding=(1, 1)).relu()
    torch.testing.assert_close(mine, theirs)
    direction = torch.randn_like(mine)
    for a, b in zip(torch.autograd.grad(mine, inputs, direction), torch.autograd.grad(theirs, inputs, direction)):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        assert torch.equal(conv2d(*inputs, padding=(1, 1), relu=True), mine)


@pytest.mark.parametrize("values_at_once", [1, 2**18])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_group_norm(
    channels_last: bool, adds: bool, relu: bool, values_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stmask.ops.group_norm._VALUES_AT_ONCE", values_at_once)
    x, weight, bias = random(2, 8, 3, 4), random(8), random(8)
    x = x if channels_last else x.detach().contiguous().requires_grad_()
    add = [random(2, 8, 4, 3).transpose(2, 3)] if adds else []
    mine = group_norm(x, 4, weight=weight, bias=bias, eps=1e-5, add=add[0] if adds else None, relu=relu)
    theirs = sum(add, F.group_norm(x, 4, weight, bias, 1e-5))
    theirs = theirs.relu() if relu else theirs
    torch.testing.assert_close(mine, theirs)
    direction = torch.randn_like(mine)
    inputs = (x, weight, bias, *add)
    for a, b in zip(torch.autograd.grad(mine, inputs, direction), torch.autograd.grad(theirs, inputs, direction)):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_matrix_product(count: int) -> None:
    inputs = random(count, 6, dtype=torch.float32), random(5, 6, dtype=torch.float32), random(5, dtype=torch.float32)
    mine, theirs = linear(*inputs), F.linear(*inputs)
    torch.testing.assert_close(mine, theirs)
    direction = torch.randn_like(mine)
    for a, b in zip(torch.autograd.grad(mine, inputs, direction), torch.autograd.grad(theirs, inputs, direction)):
        torch.testing.assert_close(a, b)


def test_a_sum_over_nothing_is_zero() -> None:
    assert torch.equal(product(torch.zeros(2, 0), torch.zeros(3, 0)), torch.zeros(2, 3))
