from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from stmask.models.stmask import Criterion
from stmask.official.quirks import KernelsFirstHead, ReleasedCriterion, UnfusedDetector
from stmask.ops.layout import anchors_last
from stmask.ops.masks import combine
from stmask.ops.nms import CrossClassNMS, PerClassNMS


def test_kernels_first_is_another_order_of_the_same_values() -> None:
    maps = [torch.arange(6.0).view(1, 1, 2, 3) + 10 * kernel for kernel in range(3)]
    released = KernelsFirstHead.centerness_of(maps).flatten().tolist()
    assert released == [float(cell + 10 * kernel) for kernel in range(3) for cell in range(6)]
    clean = anchors_last(maps).flatten().tolist()
    assert clean == [float(cell + 10 * kernel) for cell in range(6) for kernel in range(3)]


def test_centerness_is_left_out_only_per_class() -> None:
    boxes, probabilities = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[0.2, 0.6]])
    arguments = (boxes, probabilities, torch.tensor([0.5]))
    per_class = UnfusedDetector(nms=PerClassNMS()).suppress(*arguments, score_threshold=0.05)
    torch.testing.assert_close(per_class.scores, torch.tensor([0.6, 0.2]))
    across = UnfusedDetector(nms=CrossClassNMS()).suppress(*arguments, score_threshold=0.05)
    torch.testing.assert_close(across.scores, torch.tensor([0.3]))


@pytest.mark.parametrize("make", [ReleasedCriterion, UnfusedDetector])
def test_a_quirk_of_another_part_is_refused(make: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="quirks must be some of .*, got 1"):
        make(quirks=(1,))


def test_a_criterion_without_quirks_is_the_clean_one() -> None:
    labels, weights = torch.tensor([[1, 0, 2, 0, 0, 0, 0, 0]]), torch.tensor([0.9, 0.1])
    logits = torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(0))
    costs = {quirks: ReleasedCriterion(quirks=quirks).class_cost(logits, labels, weights) for quirks in ((), (2,))}
    assert costs[()] == Criterion().class_cost(logits, labels, weights)
    assert costs[2,] == ReleasedCriterion().class_cost(logits, labels, weights) != costs[()]


@pytest.mark.parametrize(("full_resolution", "same"), [(False, True), (True, False)])
def test_what_pixels_outside_of_the_crop_teach(full_resolution: bool, same: bool) -> None:
    """Quirk 4: nothing at the prototypes' size; enlarged, a mask is more than 0 a little beyond its crop."""
    draws = torch.Generator().manual_seed(0)
    coefficients, prototypes = torch.randn(1, 4, generator=draws), torch.randn(8, 8, 4, generator=draws)
    boxes, masks = torch.tensor([[0.1, 0.1, 0.5, 0.5]]), torch.ones(1, 32, 32, dtype=torch.bool)
    costs, gradients = [], []
    for quirks in ((), (4,)):
        leaf = coefficients.clone().requires_grad_()
        criterion = ReleasedCriterion(quirks=quirks, mask_full_resolution=full_resolution)
        logits = combine(prototypes, leaf)
        cost = criterion.mask_costs(logits, boxes=boxes, target_masks=masks, objects=torch.tensor([0])).sum()
        costs.append(float(cost.detach()))
        gradients.append(torch.autograd.grad(cost, leaf)[0])
    assert costs[1] > 10 * costs[0]
    assert torch.equal(*gradients) is same
