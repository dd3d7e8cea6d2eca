from __future__ import annotations

import numpy as np
import pytest

from stmask.captions import place

FRAME = (100, 200)


@pytest.mark.parametrize(
    ("box", "at"),
    [
        ((50, 40, 90, 80), (50, 30)),  # above
        ((50, 5, 90, 80), (50, 0)),  # above as far as there is room
        ((190, 40, 200, 80), (170, 30)),  # moved inside
        ((-9, -9, 20, 20), (0, 0)),
    ],
)
def test_a_single_plate_lies_above_its_object(box: tuple[int, int, int, int], at: tuple[int, int]) -> None:
    assert place([box], [(10, 30)], FRAME) == [at]


def test_plates_of_one_place_go_around_their_object() -> None:
    box = (50, 40, 120, 80)
    assert place([box] * 8, [(10, 30)] * 8, FRAME) == [
        *((50, 30), (90, 30)),  # above, at the left and at the right
        *((50, 80), (90, 80)),  # below
        *((50, 40), (90, 40)),  # inside
        *((50, 70), (90, 70)),
    ]


def test_the_next_goes_to_the_nearest_free_place() -> None:
    box = (50, 40, 120, 80)
    x, y = place([box] * 9, [(10, 30)] * 9, FRAME)[8] or (-1, -1)
    assert abs(x - 50) + abs(y - 30) <= 12


def test_nothing_to_place_and_no_room() -> None:
    assert place([], [], FRAME) == []
    assert place([None, (0, 0, 5, 5)], [(10, 30)] * 2, FRAME) == [None, (0, 0)]
    assert place([(0, 0, 5, 5)] * 3, [(60, 150)] * 3, FRAME) == [(0, 0), None, None]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 25, 60])
def test_no_plate_covers_another_or_leaves_the_frame(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = 360, 640
    corners = rng.integers(0, (width, height), (count, 2))
    boxes = [(int(x), int(y), int(x) + 60, int(y) + 40) for x, y in corners]
    plates = [(16, int(w)) for w in rng.integers(40, 120, count)]
    canvas = np.zeros((height, width), dtype=int)
    places = place(boxes, plates, (height, width))
    assert None not in places
    for at, (h, w) in zip(places, plates, strict=True):
        assert at is not None
        assert 0 <= at[0] <= width - w
        assert 0 <= at[1] <= height - h
        canvas[at[1] : at[1] + h, at[0] : at[0] + w] += 1
    assert canvas.max() == 1
