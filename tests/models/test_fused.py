from __future__ import annotations

import pytest
import torch
from torch import nn

from stmask.models.layers.conv import conv_relu
from stmask.models.layers.fused import ready
from stmask.models.layers.resnet import ResNet


@pytest.mark.parametrize(("depth", "dcn_interval", "norm"), [(18, 0, "batch"), (50, 2, "batch"), (18, 2, "group")])
@torch.no_grad()
def test_a_folded_network_gives_the_same(depth: int, dcn_interval: int, norm: str) -> None:
    torch.manual_seed(0)
    network = ResNet(depth=depth, dcn_interval=dcn_interval, norm=norm, width=16)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.normal_(1, 0.1)
            module.bias.normal_(std=0.1)
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frames = torch.randn(1, 3, 64, 64)
    folded = ready(network, torch.float32)
    for name, value in network(frames).items():
        torch.testing.assert_close(folded(frames)[name], value, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_half_precision_joins_relus() -> None:
    layers = ready(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval(), torch.bfloat16)
    out = layers(torch.randn(1, 3, 8, 8, dtype=torch.bfloat16))
    assert (out.dtype, out.shape) == (torch.bfloat16, (1, 2, 6, 6))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_one_kernel_for_a_convolution_a_sum_and_a_relu(dtype: torch.dtype) -> None:
    conv = nn.Conv2d(16, 24, 3, padding=1, stride=2).cuda().to(dtype, memory_format=torch.channels_last)
    x = torch.randn(2, 16, 9, 12, device="cuda", dtype=dtype).contiguous(memory_format=torch.channels_last)
    add = torch.randn_like(conv(x))
    exact = nn.functional.conv2d(x.float(), conv.weight.float(), conv.bias.float(), padding=1, stride=2)
    assert (conv_relu(conv, x).float() - exact.relu()).norm() < 1e-2 * exact.norm()
    both = (exact + add.float()).relu()
    assert (conv_relu(conv, x, add=add).float() - both).norm() < 1e-2 * both.norm()
