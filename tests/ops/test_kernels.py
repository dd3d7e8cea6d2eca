"""Sizes of which there are few."""

from __future__ import annotations

import pytest

from stmask.ops.kernels import usual_size


@pytest.mark.parametrize(
    ("rows", "size"),
    [(0, 0), (1, 8), (8, 8), (9, 16), (63, 64), (65, 72), (127, 128), (129, 144), (255, 256), (257, 288), (1030, 1152)],
)
def test_a_size(rows: int, size: int) -> None:
    assert usual_size(rows) == size


def test_sizes_are_few_and_little_larger() -> None:
    sizes = [usual_size(rows) for rows in range(4097)]
    assert all(rows <= size <= max(rows + 7, 9 * rows // 8) for rows, size in enumerate(sizes))
    assert len(set(sizes)) < 60
