from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from stmask.ops import masks as mask_ops


def test_combine_is_tanh_of_coefficients_times_prototypes() -> None:
    prototypes = torch.arange(12.0).view(2, 3, 2)
    coeffs = torch.tensor([[0.5, -1.0], [0.0, 2.0]])
    logits = mask_ops.combine(prototypes, coeffs)
    assert logits.shape == (2, 2, 3)
    expected = sum(coeffs[0].tanh()[d] * prototypes[1, 2, d] for d in range(2))
    assert logits[0, 1, 2] == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("x1", "x2", "margin", "columns"),
    [
        (0.2, 0.5, 1.0, [1, 2, 3, 4, 5]),  # 2 - 1 <= i < 5 + 1
        (0.2, 0.5, 0.0, [2, 3, 4]),
        (0.25, 0.55, 0.0, [3, 4, 5]),  # not rounded: 2.5 <= i < 5.5
        (-0.5, 0.1, 1.0, [0, 1]),
        (0.9, 1.7, 1.0, [8, 9]),
        (1.5, 1.7, 1.0, []),
        (0.5, 0.2, 0.0, []),
    ],
)
def test_window(x1: float, x2: float, margin: float, columns: list[int]) -> None:
    boxes = torch.tensor([[x1, 0.0, x2, 1.0]], dtype=torch.float64)
    window = mask_ops.box_windows(boxes, 1, 10, margin=margin)
    assert window[0, 0].nonzero().flatten().tolist() == columns
    turned = mask_ops.box_windows(boxes[:, [1, 0, 3, 2]], 10, 1, margin=margin)
    assert turned[0, :, 0].nonzero().flatten().tolist() == columns


def test_instance_masks_are_probabilities_inside_and_zero_outside() -> None:
    prototypes = torch.rand(8, 8, 4)
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5]])
    masks = mask_ops.instance_masks(prototypes, torch.ones(1, 4), boxes)
    inside = mask_ops.box_windows(boxes, 8, 8, margin=1.0)
    assert (masks[~inside] == 0).all()
    assert (masks[inside] >= 0.5).all()  # prototypes and coefficients are positive


def test_iou() -> None:
    a = torch.zeros(3, 4, 4, dtype=torch.bool)
    a[0, :2], a[1, 1:3] = True, True
    got = mask_ops.iou(a, a[:2])
    assert got.tolist() == [[1.0, pytest.approx(1 / 3)], [pytest.approx(1 / 3), 1.0], [0.0, 0.0]]
    assert mask_ops.iou(a[2:], a[2:]).tolist() == [[0.0]]  # the union is empty


def test_none() -> None:
    prototypes, nothing = torch.rand(4, 5, 3), torch.zeros(0, 4)
    assert mask_ops.instance_masks(prototypes, torch.zeros(0, 3), nothing).shape == (0, 4, 5)
    assert mask_ops.iou(torch.zeros(0, 4, 5, dtype=torch.bool), torch.ones(2, 4, 5, dtype=torch.bool)).shape == (0, 2)


def boxed(n: int, height: int, width: int) -> torch.Tensor:
    """Masks that are zero outside of a random box."""
    generator = torch.Generator().manual_seed(n)
    corners = torch.rand(n, 2, 2, generator=generator).sort(dim=1).values.flatten(1)  # x1, y1, x2, y2
    return mask_ops.crop(torch.rand(n, height, width, generator=generator), corners)


@pytest.mark.parametrize("size", [(1080, 1920), (481, 853), (130, 131), (129, 90), (128, 300), (20, 30)])
def test_enlarging_in_parts_changes_no_bit(size: tuple[int, int]) -> None:
    soft = boxed(6, 22, 40)
    soft[1] = 0.0
    soft[2, :, -1] = 0.9  # at the edges
    soft[3, :, 0] = 0.9
    whole = F.interpolate(soft[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] > 0.5
    assert torch.equal(mask_ops.enlarge(soft, *size), whole)
    assert not mask_ops.enlarge(soft, *size)[1].any()
    assert mask_ops.enlarge(soft[:0], *size).shape == (0, *size)


def test_small_sizes_are_the_same_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    soft = torch.rand(7, 24, 40)
    whole = mask_ops.enlarge(soft, 90, 120)
    monkeypatch.setattr(mask_ops, "_PIXELS_AT_ONCE", 2 * 90 * 120)
    assert torch.equal(mask_ops.enlarge(soft, 90, 120), whole)
