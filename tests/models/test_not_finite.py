"""A network that diverged gives a loss that is not a number, not an exception: the step is skipped and counted."""

from __future__ import annotations

import torch

from stmask.models.stmask.losses.mask import cropped_mask_bce
from stmask.ops.rois import crop_regions


def test_masks_of_coefficients_that_are_nan() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(2, 1)
    logits = torch.tensor([torch.nan, 0.0])[:, None, None].expand(2, 4, 4)
    masks = torch.ones(2, 16, 16).bool()
    costs = cropped_mask_bce(logits, boxes=boxes, target_masks=masks, objects=torch.arange(2))
    assert costs.isnan().tolist() == [True, False]


def test_regions_under_boxes_that_are_nan() -> None:
    boxes = torch.tensor([[torch.nan, 0.0, 1.0, 1.0], [-torch.inf, 0.0, torch.inf, 1.0]])
    assert crop_regions(torch.ones(1, 2, 8, 8), [boxes], size=7).shape == (2, 2, 7, 7)
