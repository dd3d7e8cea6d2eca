from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stmask.ops.masks import crop
from stmask.structures import BoxedMasks, CroppedMasks, DenseMasks, Placement


def squares(*boxes: list[float], side: int = 28) -> BoxedMasks:
    """Boxes that are filled."""
    return BoxedMasks(torch.ones(len(boxes), side, side), torch.tensor(boxes).view(-1, 4))


def test_a_filled_box_covers_its_pixels() -> None:
    (mask,) = squares([0.25, 0.5, 0.75, 1.0]).at((8, 16))
    wanted = torch.zeros(8, 16, dtype=torch.bool)
    wanted[4:, 4:12] = True
    assert torch.equal(mask, wanted)


def test_padding_is_not_part_of_the_image() -> None:
    placement = Placement(image_size=(30, 60), padded_size=(60, 60))
    (mask,) = squares([0.0, 0.25, 0.5, 0.75]).at((10, 20), placement=placement)
    wanted = torch.zeros(10, 20, dtype=torch.bool)
    wanted[5:, :10] = True  # the lower half of the box lies in the padding
    assert torch.equal(mask, wanted)


@pytest.mark.parametrize("box", [[1.1, 0.1, 1.3, 0.2], [0.3, 0.3, 0.3, 0.6], [-0.5, -0.5, -0.1, -0.1]])
def test_boxes_beyond_the_image_or_without_area_are_empty(box: list[float]) -> None:
    assert not squares(box).at((20, 20)).any()


def test_a_square_is_resized_to_its_box() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(6, 7, 7, generator=generator)
    corners = torch.randint(0, 40, (6, 2), generator=generator)
    boxes_px = torch.cat([corners, corners + torch.randint(10, 60, (6, 2), generator=generator)], dim=1)
    masks = BoxedMasks(probabilities, boxes_px / 100).at((100, 100))
    for square, (x1, y1, x2, y2), mask in zip(probabilities, boxes_px.tolist(), masks, strict=True):
        wanted = torch.zeros(100, 100)
        resized = F.interpolate(square[None, None], size=(y2 - y1, x2 - x1), mode="bilinear", align_corners=False)
        wanted[y1:y2, x1:x2] = resized[0, 0]
        sure = (wanted - 0.5).abs() > 1e-5
        assert torch.equal(mask & sure, (wanted > 0.5) & sure)


@pytest.mark.parametrize("kind", ["dense", "boxed"])
def test_overlaps_and_selection(kind: str) -> None:
    boxed = squares([0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 0.75, 0.5], [0.5, 0.5, 1.0, 1.0])
    masks = boxed if kind == "boxed" else DenseMasks(boxed.at((64, 64)).float())
    wanted = torch.tensor([[1.0, 1 / 3, 0.0], [1 / 3, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(masks.iou(masks), wanted, atol=0.02, rtol=0)
    again = masks[torch.tensor([2])].followed_by(masks[torch.tensor([0, 1])])
    assert len(again) == 3
    assert torch.equal(again.at((32, 32)), masks.at((32, 32))[[2, 0, 1]])


@pytest.mark.parametrize("none", [squares(), DenseMasks(torch.zeros(0, 4, 4))])
def test_nothing(none: BoxedMasks | DenseMasks) -> None:
    assert len(none) == 0
    assert none.at((5, 7)).shape == (0, 5, 7)
    assert none.iou(none).shape == (0, 0)


@pytest.mark.parametrize("kind", [DenseMasks, BoxedMasks])
@pytest.mark.parametrize("size", [(200, 300), (33, 50)])
def test_parts_are_those_of_the_whole_masks(kind: type[DenseMasks | BoxedMasks], size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[0.1, 0.2, 0.4, 0.5], [0.5, 0.0, 1.2, 0.7], [0.2, 0.9, 0.6, 1.0], [0.3, 0.3, 0.3, 0.6]])
    soft = torch.rand(4, 24, 40, generator=generator)
    masks = BoxedMasks(soft, boxes) if kind is BoxedMasks else DenseMasks(crop(soft, boxes, margin=0.0))
    placement = Placement(image_size=(90, 160), padded_size=(96, 160))
    whole, found = masks.at(size, placement=placement), masks.cropped_at(size, placement=placement)
    assert (len(found), found.size) == (4, size)
    for mask, (top, left), part in zip(whole.numpy(), found.corners, found.parts, strict=True):
        assert np.array_equal(mask[top : top + part.shape[0], left : left + part.shape[1]], part)
        assert mask.sum() == part.sum()
    assert len(masks[torch.zeros(4, dtype=torch.bool)].cropped_at(size)) == 0
    if size[0] > 128:
        assert all(part.size < 200 * 300 / 2 for part in found.parts)


def test_tight_parts_are_the_boxes_of_the_masks() -> None:
    masks = torch.zeros(3, 6, 9, dtype=torch.bool)
    masks[0, 2:5, 3:7] = masks[0, 1, 4] = masks[2] = True
    found = CroppedMasks((6, 9), ((1, 2), (3, 3), (0, 0)), (masks[0, 1:6, 2:9].numpy(), *masks[1:].numpy()[:, 3:, 3:]))
    tight = found.tight()
    assert [part.shape for part in tight.parts] == [(4, 4), (0, 0), (3, 6)]
    assert tight.boxes()[[0, 2]].tolist() == [[3, 1, 7, 5], [0, 0, 6, 3]]
    assert np.array_equal(tight.whole(), found.whole())
    assert np.array_equal(tight.whole()[0], masks[0])
    none = CroppedMasks((6, 9), (), ()).tight()
    assert (none.boxes().shape, none.whole().shape) == ((0, 4), (0, 6, 9))


def test_a_part_lies_within_its_image() -> None:
    with pytest.raises(ValueError, match="not within an image"):
        CroppedMasks((4, 5), ((2, 3),), (np.ones((3, 2), dtype=np.bool_),))


def test_an_image_larger_than_its_input_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Placement(image_size=(64, 70), padded_size=(64, 64))
