from __future__ import annotations

import torch

from stmask.ops.anchors import level_anchors
from stmask.ops.layout import anchors_last


def test_anchors_are_centred_on_their_cells_in_row_column_shape_order() -> None:
    got = level_anchors(2, 4, [(3, 3), (3, 5)])
    assert got.shape == (16, 4)
    torch.testing.assert_close(got[0], torch.tensor([0.125, 0.25, 3 / 4, 3 / 2]))
    torch.testing.assert_close(got[1], torch.tensor([0.125, 0.25, 5 / 4, 3 / 2]))
    torch.testing.assert_close(got[2, :2], torch.tensor([0.375, 0.25]))
    torch.testing.assert_close(got[8, :2], torch.tensor([0.125, 0.75]))


def test_outputs_have_the_anchors_order() -> None:
    rows, columns, k = 2, 3, 2
    maps = [torch.arange(rows * columns).view(1, 1, rows, columns).float() + 100 * shape for shape in range(k)]
    assert anchors_last(maps)[0, :, 0].tolist() == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104, 5, 105]
