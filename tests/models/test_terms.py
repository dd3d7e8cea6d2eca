"""Loss terms against values worked out by hand, and their promises."""

from __future__ import annotations

import math

import pytest
import torch

from stmask.models.stmask.losses import Criterion
from stmask.models.stmask.losses.box import centerness_loss, diou_loss, smooth_l1_box_loss
from stmask.models.stmask.losses.classification import hard_negative_cross_entropy, hard_negatives
from stmask.models.stmask.losses.mask import crop_boxes, cropped_mask_bce
from stmask.models.stmask.losses.positives import Positives
from stmask.models.stmask.losses.tracking import embedding_loss
from stmask.ops.boxes import encode
from stmask.ops.masks import combine, combine_frames

UNIT = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
HALF = torch.tensor([[0.0, 0.0, 0.5, 1.0]])


def test_diou() -> None:
    assert diou_loss(UNIT, UNIT, torch.ones(1)) == 0
    assert diou_loss(HALF, UNIT, torch.tensor([2.0])).item() == pytest.approx(2 * (0.5 + 0.0625 / 2))


def test_smooth_l1_boxes() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    goal = encode(UNIT, anchors)
    shifted = goal + torch.tensor([[0.5, 0.0, 3.0, 0.0]])
    loss = smooth_l1_box_loss(shifted, UNIT, anchors=anchors, weights=torch.ones(1))
    assert loss.item() == pytest.approx(0.125 + 2.5, rel=1e-5)


def test_centreness_learns_the_quality_and_leaves_the_boxes_alone() -> None:
    boxes = HALF.clone().requires_grad_()
    centerness = torch.tensor([0.5 - 0.0625 / 2], requires_grad=True)
    assert centerness_loss(centerness, boxes, target_boxes=UNIT, weights=torch.ones(1)).item() == pytest.approx(0)
    one = torch.zeros(1, dtype=torch.int64)
    positives = Positives(
        one, one, one, one, one, torch.ones(1), target_boxes=UNIT, boxes=boxes, mask_coeffs=UNIT, embeddings=UNIT
    )
    Criterion().centerness_cost(centerness + 1, positives).backward()
    assert boxes.grad is None
    assert centerness.grad is not None


def test_hard_negatives_are_the_most_doubtful_background_anchors() -> None:
    logits = torch.zeros(1, 6, 2)
    logits[0, :, 1] = torch.tensor([9.0, 1.0, 3.0, 2.0, 8.0, 0.0])
    labels = torch.tensor([[1, 0, 0, 0, -1, 0]])  # the doubtful fifth is neutral
    assert hard_negatives(logits, labels, ratio=3).tolist() == [[False, True, True, True, False, False]]
    assert hard_negatives(logits, labels, ratio=9).sum() == 4


def test_classification() -> None:
    logits = torch.zeros(2, 4, 3)  # every anchor costs ln 3
    labels = torch.tensor([[1, 2, 0, 0], [0, 0, 0, 0]])
    loss = hard_negative_cross_entropy(logits, labels, weights=torch.tensor([0.5, 0.5]), ratio=3)
    assert loss.item() == pytest.approx((math.log(3) + 3 * 2 * math.log(3)) / 4, rel=1e-5)


def test_classification_without_positives_is_zero_and_has_a_gradient() -> None:
    logits = torch.zeros(1, 4, 3, requires_grad=True)
    loss = hard_negative_cross_entropy(logits, torch.zeros(1, 4, dtype=torch.int64), weights=torch.zeros(0))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None


def test_same_identity_pulls_another_pushes() -> None:
    e = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    ids = torch.tensor([5, 5, 6])
    loss = embedding_loss(e, ids, torch.ones(3))
    assert loss.item() == pytest.approx((0 + 2 * math.log(2)) / 3)
    assert embedding_loss(e, torch.tensor([5, 6, 7]), torch.ones(3)) > loss
    assert embedding_loss(e[:0], ids[:0], torch.ones(0)) == 0


@pytest.mark.parametrize("full_resolution", [True, False])
def test_mask_loss_is_per_pixel_of_the_box(full_resolution: bool) -> None:
    target = torch.zeros(1, 32, 32, dtype=torch.bool)
    loss = cropped_mask_bce(
        torch.zeros(1, 8, 8),  # every probability is one half
        boxes=UNIT,
        target_masks=target,
        objects=torch.tensor([0]),
        full_resolution=full_resolution,
    )
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


@pytest.mark.parametrize("full_resolution", [True, False])
def test_object_pixels_outside_the_box_cost_only_where_asked(full_resolution: bool) -> None:
    logits = torch.full((1, 16, 16), 30.0)  # sure of itself everywhere
    arguments = {
        "boxes": torch.tensor([[0.25, 0.25, 0.5, 0.5]]),
        "target_masks": torch.ones(1, 64, 64, dtype=torch.bool),
        "objects": torch.tensor([0]),
        "full_resolution": full_resolution,
    }
    inside = cropped_mask_bce(logits, **arguments)
    everywhere = cropped_mask_bce(logits, inside_only=False, **arguments)
    assert everywhere > 100 * 10
    assert inside < 0.2 * everywhere


def test_crops_are_grown_and_stay_in_the_image() -> None:
    got = crop_boxes(torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.0, 0.0, 1.0, 1.0]]), factor=1.2)
    torch.testing.assert_close(got, torch.tensor([[0.2, 0.2, 0.8, 0.8], [1e-5, 1e-5, 1.0, 1.0]]))


def test_no_masks() -> None:
    for full_resolution in (True, False):
        none = cropped_mask_bce(
            torch.zeros(0, 4, 4),
            boxes=torch.zeros(0, 4),
            target_masks=torch.zeros(0, 16, 16).bool(),
            objects=torch.zeros(0, dtype=torch.int64),
            full_resolution=full_resolution,
        )
        assert none.shape == (0,)


@pytest.mark.parametrize("full_resolution", [True, False])
def test_masks_of_several_frames_are_those_of_each(full_resolution: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    prototypes, coeffs = torch.randn(3, 6, 8, 4, generator=draws), torch.randn(5, 4, generator=draws)
    frames, objects = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([1, 0, 3, 2, 3])
    masks = torch.rand(4, 24, 32, generator=draws) > 0.5
    boxes = torch.tensor([[0.1, 0.2, 0.7, 0.9]]).repeat(5, 1)
    logits = combine_frames(prototypes, coeffs, frames)
    for one, (frame, row) in enumerate(zip(frames, objects)):
        torch.testing.assert_close(logits[one], combine(prototypes[frame], coeffs[one : one + 1])[0])
        kinds = {"full_resolution": full_resolution, "boxes": boxes[:1]}
        alone = cropped_mask_bce(logits[one : one + 1], target_masks=masks[row][None], objects=objects[:1] * 0, **kinds)
        both = cropped_mask_bce(
            logits, target_masks=masks, objects=objects, boxes=boxes, full_resolution=full_resolution
        )
        torch.testing.assert_close(both[one], alone[0])
