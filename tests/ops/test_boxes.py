from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stmask.ops import boxes

UNIT = [0.0, 0.0, 1.0, 1.0]


def test_forms() -> None:
    corners = torch.tensor([[0.1, 0.2, 0.5, 0.8]])
    torch.testing.assert_close(boxes.to_centres(corners), torch.tensor([[0.3, 0.5, 0.4, 0.6]]))
    torch.testing.assert_close(boxes.to_corners(boxes.to_centres(corners)), corners)


@pytest.mark.parametrize(
    ("a", "b", "iou", "diou"),
    [
        (UNIT, UNIT, 1.0, 1.0),
        (UNIT, [0.0, 0.0, 0.5, 1.0], 0.5, 0.5 - 0.0625 / 2),
        (UNIT, [1.0, 0.0, 2.0, 1.0], 0.0, -1 / 5),  # touching: centres 1 apart, enclosing diagonal squared 5
        (UNIT, [2.0, 2.0, 3.0, 3.0], 0.0, -8 / 18),
        (UNIT, [0.0, 0.0, 0.0, 0.0], 0.0, -0.25),  # a box without area
    ],
)
def test_overlap(a: list[float], b: list[float], iou: float, diou: float) -> None:
    first, second = torch.tensor([a]), torch.tensor([b])
    assert boxes.paired_iou(first, second).item() == pytest.approx(iou)
    assert boxes.iou(first, second).shape == (1, 1)
    assert boxes.paired_diou(first, second).item() == pytest.approx(diou)


def test_encoding_of_a_moved_and_stretched_box() -> None:
    anchor = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    moved = boxes.to_corners(torch.tensor([[0.6, 0.4, 0.4, 0.4]]))
    expected = torch.tensor([[0.5 / 0.1, -0.25 / 0.1, 0.6931472 / 0.2, 0.0]])
    torch.testing.assert_close(boxes.encode(moved, anchor), expected, atol=1e-5, rtol=1e-5)


side = st.floats(0.05, 1.0)
position = st.floats(0.0, 1.0)


@given(st.tuples(position, position, side, side), st.tuples(position, position, side, side))
def test_decode_inverts_encode(box: tuple[float, ...], anchor: tuple[float, ...]) -> None:
    corners = boxes.to_corners(torch.tensor([box]))
    anchors = torch.tensor([anchor])
    torch.testing.assert_close(boxes.decode(boxes.encode(corners, anchors), anchors), corners, atol=1e-4, rtol=1e-4)


def test_enlarge_keeps_the_centre() -> None:
    grown = boxes.enlarge(torch.tensor([[0.2, 0.4, 0.4, 0.8]]), 1.5)
    torch.testing.assert_close(grown, torch.tensor([[0.15, 0.3, 0.45, 0.9]]))


def test_boxes_from_masks() -> None:
    masks = torch.zeros(3, 4, 8, dtype=torch.bool)
    masks[0, 1:3, 2:5] = True
    masks[1, 3, 7] = True
    expected = torch.tensor([[2 / 8, 1 / 4, 5 / 8, 3 / 4], [7 / 8, 3 / 4, 1.0, 1.0], [0, 0, 0, 0]])
    torch.testing.assert_close(boxes.from_masks(masks), expected)


def test_nothing_in_nothing_out() -> None:
    none = torch.zeros(0, 4)
    assert boxes.decode(none, none).shape == boxes.encode(none, none).shape == (0, 4)
    assert boxes.iou(none, torch.rand(3, 4)).shape == (0, 3)
    assert boxes.from_masks(torch.zeros(0, 5, 5, dtype=torch.bool)).shape == (0, 4)
