from __future__ import annotations

import torch

from stmask.ops.rois import _roi_align, boxes_on_map, crop_regions


def test_boxes_are_ordered_and_clamped_to_the_map() -> None:
    boxes = torch.tensor([[-0.5, 0.25, 0.5, 1.5], [0.75, 0.9, 0.25, 0.1]])
    expected = torch.tensor([[0.0, 2.0, 8.0, 8.0], [4.0, 0.8, 12.0, 7.2]])
    torch.testing.assert_close(boxes_on_map(boxes, 8, 16), expected)


def test_regions_of_several_images() -> None:
    features = torch.arange(2, dtype=torch.float32).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    regions = crop_regions(features, [torch.zeros(0, 4), torch.tensor([[0.0, 0.0, 1.0, 1.0]])], size=7)
    assert regions.shape == (1, 3, 7, 7)
    assert regions.unique().tolist() == [1.0]


def test_no_boxes() -> None:
    assert crop_regions(torch.rand(1, 3, 8, 8), [torch.zeros(0, 4)], size=7).shape == (0, 3, 7, 7)


def test_boxes_off_the_map_are_empty() -> None:
    boxes = torch.tensor([[5.4, 0.0, 5.6, 1.0], [0.0, -3.0, 1.0, -2.0], [-9.0, -9.0, -8.0, -8.0]])
    expected = torch.tensor([[16.0, 0.0, 16.0, 8.0], [0.0, 0.0, 16.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(boxes_on_map(boxes, 8, 16), expected)
    assert crop_regions(torch.rand(1, 3, 8, 16), [boxes], size=7).isfinite().all()


def test_gradients_are_torchvisions() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, 6, 10, generator=generator, dtype=torch.float64).requires_grad_()
    boxes = [torch.rand(9, 4, generator=generator, dtype=torch.float64) * 1.5 - 0.2, torch.zeros(0, 4).double()]
    boxes.append(torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.7], [1.0, 1.0, 1.0, 1.0]]).double())
    mine = crop_regions(features, boxes, size=7)
    theirs = _roi_align(features, [boxes_on_map(group, 6, 10) for group in boxes], 7)
    assert torch.equal(mine, theirs)
    direction = torch.randn(mine.shape, generator=generator, dtype=torch.float64)
    (got,), (wanted,) = (torch.autograd.grad(regions, features, direction) for regions in (mine, theirs))
    torch.testing.assert_close(got, wanted)
