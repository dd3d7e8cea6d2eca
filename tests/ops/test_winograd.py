from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from stmask.models.stmask import TemporalFusion
from stmask.ops import winograd


@pytest.mark.parametrize("side", [1, 4, 5, 7, 8, 9])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_it_is_a_convolution_and_a_relu(side: int, count: int) -> None:
    generator = torch.Generator().manual_seed(side)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    regions = draw(count, 6, side, side)
    weights, biases = [draw(8, 6, 3, 3), draw(4, 8, 3, 3)], [draw(8), draw(4)]
    wanted, grid = regions, winograd.laid_out(regions)
    for weight, bias in zip(weights, biases, strict=True):
        wanted = F.relu(F.conv2d(wanted, weight, bias, padding=1))
        grid = winograd.conv_relu(grid, winograd.transformed(weight), bias, side=side)
    got = grid[1 : side + 1, 1 : side + 1].permute(2, 3, 0, 1)
    torch.testing.assert_close(got, wanted)
    border = grid.clone()
    border[1 : side + 1, 1 : side + 1] = 0
    assert not border.any()  # the next convolution reads it as its padding


def fusion() -> TemporalFusion:
    torch.manual_seed(0)
    return TemporalFusion(channels=8, num_prototypes=4, size=3, hidden=(16, 16, 24)).eval()


@pytest.mark.parametrize("count", [15, 16, 50, 120])
def test_temporal_fusion_gives_the_same_shifts_for_few_and_for_many(count: int) -> None:
    temporal = fusion()
    fused = torch.randn(1, 25, 12, 20)
    corners = torch.rand(count, 2, 2).sort(dim=1).values.flatten(1)
    wanted = temporal(fused, [corners])  # with gradients: as in training
    with torch.inference_mode():
        got = temporal(fused, [corners])
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_weights_that_change_are_transformed_again() -> None:
    temporal = fusion()
    fused, corners = torch.randn(1, 25, 12, 20), torch.tensor([[0.2, 0.2, 0.7, 0.8]]).repeat(20, 1)
    for _ in range(2):
        with torch.no_grad():
            for parameter in temporal.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
            torch.testing.assert_close(temporal(fused, [corners])[0][:1], temporal(fused, [corners[:1]])[0])


def test_weights_that_a_fused_optimiser_changes_are_transformed_again() -> None:
    """It does not raise their version."""
    temporal = fusion()
    optimizer = torch.optim.SGD(temporal.parameters(), lr=0.5, fused=True)
    fused, corners = torch.randn(1, 25, 12, 20), torch.tensor([[0.2, 0.2, 0.7, 0.8]]).repeat(20, 1)
    with torch.no_grad():
        before = temporal.eval()(fused, [corners])[0]
    temporal.train()(fused, [corners])[0].square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        many, one = temporal.eval()(fused, [corners])[0], temporal(fused, [corners[:1]])[0]
    assert not torch.equal(before, many)
    torch.testing.assert_close(many[:1], one)
