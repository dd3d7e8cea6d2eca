from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stmask.ops.correlation import _banded_at_once, correlate


def by_definition(reference: Tensor, target: Tensor, size: int) -> Tensor:
    b, c, h, w = reference.shape
    r = size // 2
    out = torch.zeros(b, size * size, h, w, dtype=reference.dtype)
    for i in range(-r, r + 1):
        for j in range(-r, r + 1):
            for y in range(h):
                for x in range(w):
                    if 0 <= y + i < h and 0 <= x + j < w:
                        value = (reference[:, :, y, x] * target[:, :, y + i, x + j]).sum(1) / c
                        out[:, (i + r) * size + j + r, y, x] = value
    return out


@pytest.mark.parametrize("size", [1, 3, 7])
def test_definition(size: int) -> None:
    reference, target = torch.randn(2, 5, 4, 6, dtype=torch.float64), torch.randn(2, 5, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(correlate(reference, target, size=size), by_definition(reference, target, size))


@pytest.mark.parametrize("size", [1, 5])
def test_all_shifts_at_once_as_a_gpu_has_them(size: int) -> None:
    reference, target = (torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    direction = torch.randn(2, size * size, 4, 6, dtype=torch.float64)
    one, other = _banded_at_once(reference, target, size), correlate(reference, target, size=size)
    torch.testing.assert_close(one, other)
    for a, b in zip(*(torch.autograd.grad(maps, [reference, target], direction) for maps in (one, other))):
        torch.testing.assert_close(a, b)


def test_a_shifted_map_answers_at_its_shift() -> None:
    reference = torch.zeros(1, 1, 7, 7)
    target = torch.zeros(1, 1, 7, 7)
    reference[0, 0, 3, 3] = target[0, 0, 4, 1] = 1  # one row down, two columns left
    maps = correlate(reference, target, size=5)
    assert maps[0, :, 3, 3].argmax().item() == (1 + 2) * 5 + (-2 + 2)
    assert maps.sum() == 1


def test_gradients() -> None:
    arguments = [torch.randn(1, 3, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda a, b: correlate(a, b, size=3), arguments)


def test_refusals() -> None:
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="must be odd, got 4"):
        correlate(x, x, size=4)
    with pytest.raises(ValueError, match="'cuda'"):
        correlate(x, x, size=3, backend="cuda")


@pytest.mark.sampler
@pytest.mark.parametrize("size", [3, 11, 13])
def test_equals_the_compiled_sampler_in_values_and_gradients(size: int) -> None:
    reference, target = (torch.randn(2, 16, 9, 14, requires_grad=True) for _ in range(2))
    direction = torch.randn(2, size * size, 9, 14)
    results = []
    for backend in ("torch", "sampler"):
        maps = correlate(reference, target, size=size, backend=backend)
        results.append([maps, *torch.autograd.grad(maps, [reference, target], direction)])
    for mine, theirs in zip(*results):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
