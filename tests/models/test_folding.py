from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from stmask.models.layers import ResNet
from stmask.models.layers.folding import prepare_for_inference


@pytest.mark.parametrize(
    "make",
    [
        partial(ResNet, depth=18, width=16),
        partial(ResNet, depth=18, width=16, dcn_interval=1),
        partial(ResNet, depth=50, width=16, dcn_interval=2),
        partial(ResNet, depth=18, width=16, norm="group"),
    ],
)
def test_the_same_maps_without_batch_norms(make: partial[ResNet]) -> None:
    torch.manual_seed(0)
    network = make().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    frames = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        wanted = network(frames)
        prepare_for_inference(network)
        got = network(frames)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    for name, values in wanted.items():
        torch.testing.assert_close(got[name], values, rtol=1e-4, atol=1e-5 * float(values.abs().max()))
