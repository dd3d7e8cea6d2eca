from itertools import pairwise

import pytest

from stmask.data.shuffle import permuted, shuffled


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100, 1000])
def test_every_number_comes_up_once_per_lap(size):
    for lap in range(3):
        seen = [shuffled(lap * size + i, size, seed=5) for i in range(size)]
        assert sorted(seen) == list(range(size))


def test_laps_and_seeds_differ():
    orders = {tuple(shuffled(lap * 50 + i, 50, seed) for i in range(50)) for lap in range(4) for seed in range(4)}
    assert len(orders) == 16


def test_a_permutation_looks_random():
    size = 10_000
    order = [permuted(i, size, key=3) for i in range(size)]
    fixed = sum(i == value for i, value in enumerate(order))
    rising = sum(a < b for a, b in pairwise(order))
    assert fixed < 10  # one is expected
    assert abs(rising / size - 0.5) < 0.02


def test_out_of_range():
    with pytest.raises(IndexError):
        permuted(5, 5, key=0)
