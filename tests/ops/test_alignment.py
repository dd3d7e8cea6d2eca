"""FCB(ali): the taps sweep the regressed box."""

from __future__ import annotations

import pytest
import torch

from stmask.ops.alignment import aligned_offsets
from stmask.ops.boxes import decode
from stmask.ops.deform import same_padding


def test_equations_6_to_8() -> None:
    t = torch.tensor([0.2, -0.1, 0.5, -0.3])  # equation 1, without variances
    deltas = (t / torch.tensor([0.1, 0.1, 0.2, 0.2])).view(1, 4, 1, 1)
    got = aligned_offsets(deltas, (3, 5), anchor_shape=(3.0, 5.0)).view(15, 2)
    for tap in range(15):
        row, column = tap // 5 - 1, tap % 5 - 2
        dy = 3 * t[1] + (t[3].exp() - 1) * row
        dx = 5 * t[0] + (t[2].exp() - 1) * column
        torch.testing.assert_close(got[tap], torch.stack([dy, dx]), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("anchor", [(3.0, 5.0), (4.5, 7.5), (4.0, 2.0)])
@pytest.mark.parametrize("kernel", [(3, 3), (3, 5), (3, 2), (2, 3)])
def test_taps_are_the_centres_of_the_boxes_bins(kernel: tuple[int, int], anchor: tuple[float, float]) -> None:
    kh, kw = kernel
    deltas = torch.tensor([0.7, -1.1, 0.9, -0.4]).view(1, 4, 1, 1)
    offsets = aligned_offsets(deltas, kernel, anchor_shape=anchor).view(kh, kw, 2)
    box = decode(deltas.flatten()[None], torch.tensor([[0.0, 0.0, anchor[1], anchor[0]]]))[
        0
    ]  # in cells around the cell
    left, _, top, _ = same_padding(kernel)
    for row in range(kh):
        for column in range(kw):
            y = row - top + offsets[row, column, 0]
            x = column - left + offsets[row, column, 1]
            assert y.item() == pytest.approx((box[1] + (row + 0.5) / kh * (box[3] - box[1])).item(), abs=1e-5)
            assert x.item() == pytest.approx((box[0] + (column + 0.5) / kw * (box[2] - box[0])).item(), abs=1e-5)


def test_no_regression_no_offset() -> None:
    assert aligned_offsets(torch.zeros(2, 4, 3, 4), (3, 5), anchor_shape=(3.0, 5.0)).abs().max() == 0
