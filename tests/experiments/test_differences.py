"""Intervals of differences, on cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from stmask.evaluation.resampling import MatchedVideos
from stmask.experiments.differences import Bootstrap, Difference, average_precision

VIDEOS = 40


def run_with(found: int, *, videos: int = VIDEOS) -> MatchedVideos:
    """One object a video, in `found` of which it is found at every threshold, and nothing else is reported.

    Precision is 1 up to the recall: the AP is the share of recall points that it reaches, up to 1 / 101 the recall.
    """
    here = np.arange(found)
    return MatchedVideos(
        video_ids=np.arange(videos) + 1,
        video=here,
        category=np.zeros(found, dtype=np.int64),
        hits=np.ones((10, found), dtype=bool),
        misses=np.zeros((10, found), dtype=bool),
        counted=np.ones((videos, 1), dtype=np.int64),
    )


def rows(*found: int) -> dict[int, MatchedVideos]:
    return {seed: run_with(number) for seed, number in enumerate(found)}


def width(difference: Difference) -> float:
    assert difference.low is not None
    assert difference.high is not None
    return difference.high - difference.low


def test_equal_rows_differ_by_nothing_whatever_is_drawn() -> None:
    difference = Bootstrap(resamples=200).difference(rows(10, 20, 30, 15, 25), rows(10, 20, 30, 15, 25))
    assert difference is not None
    assert (difference.mean, difference.low, difference.high, difference.better) == (0, 0, 0, 0)


def test_the_interval_over_videos_is_that_of_the_binomial_distribution() -> None:
    """8 of 40 videos more, with every seed the same ones: so many of 40 draws are among them."""
    difference = Bootstrap().difference(rows(*[28] * 5), rows(*[20] * 5))
    assert difference is not None
    assert difference.mean == pytest.approx(20, abs=1.5)
    assert difference.better == 5
    spread = 1.96 * 100 * np.sqrt(0.2 * 0.8 / VIDEOS)  # 12.4 points
    assert (difference.low, difference.high) == (
        pytest.approx(20 - spread, abs=2.5),
        pytest.approx(20 + spread, abs=2.5),
    )


def test_the_interval_over_seeds_is_that_of_the_seeds_differences() -> None:
    """All videos are alike: only the seeds differ, of which each is drawn with equal probability."""

    def alike(share: int) -> MatchedVideos:
        """Of 100 objects in every video so many are found: whatever is drawn, the AP is the same."""
        return MatchedVideos(
            video_ids=np.arange(3),
            video=np.repeat(np.arange(3), share),
            category=np.zeros(3 * share, dtype=np.int64),
            hits=np.ones((10, 3 * share), dtype=bool),
            misses=np.zeros((10, 3 * share), dtype=bool),
            counted=np.full((3, 1), 100),
        )

    differences = np.array([2, 4, 6, 8, 10])
    after = {seed: alike(40 + int(more)) for seed, more in enumerate(differences)}
    found = Bootstrap().difference(after, {seed: alike(40) for seed in after})
    assert found is not None
    every = np.array(np.meshgrid(*[differences] * 5)).reshape(5, -1).mean(axis=0)  # all draws of five
    low, high = np.quantile(every, [0.025, 0.975])
    assert found.mean == pytest.approx(6, abs=0.1)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.5), pytest.approx(high, abs=0.5))


def test_the_same_draws_every_time_and_rows_are_paired_by_seed_and_video() -> None:
    after, before = rows(12, 22, 32, 17, 27), rows(10, 20, 30, 15, 25)
    one, again = (Bootstrap(resamples=300).difference(after, before) for _ in range(2))
    assert one == again
    shuffled = dict(zip(after, [after[seed] for seed in (3, 0, 4, 1, 2)]))
    loose = Bootstrap(resamples=300).difference(shuffled, before)
    assert one is not None
    assert loose is not None
    assert loose.mean == pytest.approx(one.mean)
    assert width(one) < 0.5 * width(loose)


def test_a_change_is_a_difference_of_differences_on_the_same_draws() -> None:
    after, before, equal = rows(12, 22, 32, 17, 27), rows(10, 20, 30, 15, 25), rows(10, 20, 30, 15, 25)
    bootstrap = Bootstrap(resamples=300)
    assert bootstrap.change((before, equal), (after, before)) == bootstrap.difference(after, before)
    none = bootstrap.change((after, before), (after, before))
    assert none is not None
    assert (none.mean, none.low, none.high) == (0, 0, 0)
    assert bootstrap.change((after, before), (after, {9: run_with(3)})) is None


def test_too_few_seeds_have_a_mean_and_no_interval() -> None:
    four = Bootstrap().difference(rows(12, 22, 32, 17), {**rows(10, 20, 30, 15), 9: run_with(5)})
    assert four is not None
    assert (four.low, four.high, four.seeds) == (None, None, (0, 1, 2, 3))
    assert four.mean == pytest.approx(5, abs=1)
    assert Bootstrap().difference({1: run_with(1)}, {2: run_with(1)}) is None


def test_runs_on_other_videos_are_refused() -> None:
    with pytest.raises(ValueError, match="the same videos"):
        Bootstrap().difference({0: run_with(3)}, {0: run_with(3, videos=30)})


def test_ap_in_percent_by_seed() -> None:
    assert average_precision({2: run_with(40), 1: run_with(0)}) == (0.0, pytest.approx(100))
