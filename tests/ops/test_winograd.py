from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from stmask.models.stmask import TemporalFusion
from stmask.ops import winograd
from stmask.ops.conv import conv2d


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


@pytest.mark.parametrize("values", [1, 2**10, 2**20])  # at once
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (2, 4), (5, 3), (8, 9), (7, 16)])
def test_a_map_by_tiles_is_a_convolution(
    size: tuple[int, int], relu: bool, bias: bool, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "_VALUES_AT_ONCE", values)
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(size[0]), dtype=torch.float64)
    x, weight, shift = draw(2, 6, *size), draw(5, 6, 3, 3), draw(5) if bias else None
    wanted = F.conv2d(x, weight, shift, padding=1)
    got = winograd.conv_map(x, winograd._transformed_for_maps(weight), shift, relu=relu)
    torch.testing.assert_close(got, wanted.relu() if relu else wanted)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_rounding_stays_that_of_float32() -> None:
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    x, weight = draw(1, 256, 24, 40), draw(256, 256, 3, 3)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    tiles = winograd.conv_map(x, winograd._transformed_for_maps(weight), None, relu=False)
    assert (tiles - exact).abs().max() < 2e-6 * exact.abs().max()


def test_tiles_are_taken_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """And made anew when a weight has changed."""
    conv = torch.nn.Conv2d(8, 8, 3, padding=1)
    x = torch.randn(1, 8, 6, 10)
    winograd.prepare(conv)
    with torch.no_grad():
        assert winograd.prepared(x, conv.weight) is None  # it is narrow
        monkeypatch.setattr(winograd, "_pays", lambda: ((8, 60),))
        assert winograd.prepared(x[:, :, :5], conv.weight) is None  # the map is small
        assert winograd.prepared(x.double(), conv.weight) is None
        assert winograd.prepared(x, conv.weight.clone()) is None  # which nobody has prepared
        for _ in range(2):
            tiles = winograd.prepared(x, conv.weight)
            assert tiles is not None
            assert winograd.prepared(x, conv.weight) is tiles
            torch.testing.assert_close(
                conv2d(x, conv.weight, conv.bias, padding=(1, 1), relu=True), conv(x).relu(), rtol=1e-5, atol=1e-5
            )
            conv.weight.mul_(2)


def test_strides_groups_and_gradients_go_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_pays", lambda: ((1, 1),))
    monkeypatch.setattr(winograd, "conv_map", None)  # a call would fail
    conv, grouped = torch.nn.Conv2d(8, 8, 3), torch.nn.Conv2d(8, 8, 3, groups=2)
    winograd.prepare(torch.nn.ModuleList([conv, grouped]))
    x = torch.randn(1, 8, 6, 10)
    assert winograd.prepared(x, grouped.weight) is None
    conv2d(x, conv.weight, conv.bias, padding=(1, 1)).sum().backward()
    with torch.no_grad():
        conv2d(x, conv.weight, conv.bias, padding=(1, 1), stride=(2, 2))
        conv2d(x, conv.weight, conv.bias)
        with pytest.raises(TypeError):
            conv2d(x, conv.weight, conv.bias, padding=(1, 1))


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
