from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import deform_conv2d, roi_align

from stmask.benchmarks.flops import count, counter
from stmask.ops.kernels import bag_sums, linear


def test_convolutions_forward_and_backward() -> None:
    layer, x = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False), torch.rand(2, 3, 5, 6)
    forward = 2 * 2 * 4 * 5 * 6 * 3 * 9
    assert count(lambda: layer(x)) == forward
    with counter() as flops:
        layer(x).sum().backward()
    assert flops.get_total_flops() == 2 * forward  # the image needs no gradient


@pytest.mark.parametrize("inference", [True, False])
def test_sampling_is_counted(inference: bool) -> None:
    x, grid = torch.rand(1, 3, 5, 6), torch.rand(1, 2, 7, 2)
    with torch.inference_mode(inference):
        assert count(lambda: F.grid_sample(x, grid, align_corners=False)) == 8 * 3 * 2 * 7


def test_deformable_convolution_and_regions_are_counted() -> None:
    x, weight = torch.rand(1, 3, 5, 6), torch.rand(4, 3, 3, 3)
    offsets = torch.zeros(1, 18, 5, 6)
    assert count(lambda: deform_conv2d(x, offsets, weight, padding=1)) == 3 * 9 * 5 * 6 * (2 * 4 + 8)
    boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
    assert count(lambda: roi_align(x, boxes, output_size=2, sampling_ratio=2)) == 8 * 3 * 4 * 4


def test_products_by_onednn_and_sums_of_rows_are_counted() -> None:
    x, weight = torch.rand(7, 5, requires_grad=True), torch.rand(3, 5)
    assert count(lambda: linear(x.detach(), weight)) == 2 * 7 * 5 * 3
    assert count(lambda: linear(x, weight).sum().backward()) == 2 * 2 * 7 * 5 * 3
    rows = torch.randint(7, (4, 2), dtype=torch.int32)
    assert count(lambda: bag_sums(x.detach(), rows, torch.rand(4, 2))) == 2 * 4 * 2 * 5
