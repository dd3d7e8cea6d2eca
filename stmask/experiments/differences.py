"""Differences between rows that were trained with the same seeds, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stmask.evaluation.resampling import MatchedVideos
from stmask.extras import require

LEAST_SEEDS = 5  # for an interval
RESAMPLES = 2000
LEVEL = 0.95
_AT_ONCE = 500  # resamples
_POINTS = 100  # of AP in 1

Runs = Mapping[int, MatchedVideos]
"""By seed what the runs of a row found in the same videos."""
_Sum = list[tuple[int, MatchedVideos]]


@dataclass(frozen=True, slots=True)
class Difference:
    """AP of a row less AP of another, or a sum of such, in points.

    Attributes:
        mean: over the seeds that all rows have.
        low, high: of the interval; None with fewer than `LEAST_SEEDS` seeds.
        seeds: that all have, ascending.
        better: with how many of them it is above 0.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: tuple[int, ...]
    better: int


def average_precision(runs: Runs) -> tuple[float, ...]:
    """AP of each run in percent, by seed; NaN where no annotation counts."""
    return tuple(
        _POINTS * float(_ap(runs[seed], np.ones(len(runs[seed].video_ids), np.int64))) for seed in sorted(runs)
    )


def _ap(run: MatchedVideos, times: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(..., V) to (...)."""
    found = run.average_precision(times.reshape(-1, times.shape[-1]))
    return found.reshape(times.shape[:-1])


class Bootstrap:
    """Intervals by drawing seeds and videos with replacement, both at once (scipy's percentile bootstrap).

    A difference is that of two runs with the same seed, on the same drawn videos. Equal numbers of seeds and videos
    have equal draws: what a run's AP is for them is kept for its other differences.

    Args:
        resamples: how many draws.
        seed: of the draws.
    """

    def __init__(self, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        require("scipy", what="an interval")
        self.resamples = resamples
        self._seed = seed
        self._known: dict[tuple[int, bytes], npt.NDArray[np.float64]] = {}
        self._kept: list[MatchedVideos] = []  # so that no other gets the identity of one

    def difference(self, after: Runs, before: Runs) -> Difference | None:
        """AP of the first less AP of the second; None where they have no seed in common.

        Raises:
            ValueError: runs of different videos.
        """
        return self._sum([(1, after), (-1, before)])

    def change(self, then: tuple[Runs, Runs], now: tuple[Runs, Runs]) -> Difference | None:
        """The difference (after, before) of now less that of then, on the same videos under other conditions.

        Raises:
            ValueError: runs of different videos.
        """
        return self._sum([(1, now[0]), (-1, now[1]), (-1, then[0]), (1, then[1])])

    def _sum(self, terms: Sequence[tuple[int, Runs]]) -> Difference | None:
        seeds = sorted(set.intersection(*(set(runs) for _, runs in terms)))
        sums: list[_Sum] = [[(sign, runs[seed]) for sign, runs in terms] for seed in seeds]
        if not sums:
            return None
        videos = sums[0][0][1].video_ids
        if any(not np.array_equal(run.video_ids, videos) for one in sums for _, run in one):
            raise ValueError("differences are of runs on the same videos")
        whole = np.ones((1, len(videos)), dtype=np.int64)
        each = _POINTS * np.array([sum(sign * _ap(run, whole)[0] for sign, run in one) for one in sums])
        low, high = self._interval(sums, videos=len(videos)) if len(seeds) >= LEAST_SEEDS else (None, None)
        return Difference(float(each.mean()), low, high, tuple(seeds), int((each > 0).sum()))

    def _interval(self, sums: Sequence[_Sum], *, videos: int) -> tuple[float, float]:
        from scipy.stats import bootstrap

        def statistic(seeds: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64], axis: int = -1) -> Any:
            """Mean differences (...) of drawn seeds (..., S) on drawn videos (..., V)."""
            times = (drawn[..., None, :] == np.arange(videos)[:, None]).sum(axis=-1)  # (..., V)
            each = [sum(sign * self._of(run, times) for sign, run in one) for one in sums]
            return np.take_along_axis(np.stack(each, axis=-1), seeds, axis=-1).mean(axis=axis)

        found = bootstrap(
            (np.arange(len(sums)), np.arange(videos)),
            statistic,
            n_resamples=self.resamples,
            batch=_AT_ONCE,
            vectorized=True,
            confidence_level=LEVEL,
            method="percentile",
            rng=np.random.default_rng(self._seed),
        )
        interval = found.confidence_interval
        return _POINTS * float(interval.low), _POINTS * float(interval.high)

    def _of(self, run: MatchedVideos, times: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        key = id(run), times.tobytes()
        if key not in self._known:
            self._kept.append(run)
            self._known[key] = _ap(run, times)
        return self._known[key]
