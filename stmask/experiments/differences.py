"""Differences between rows that were trained with the same seeds, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Difference:
    """AP of a row less AP of another, in points.

    Attributes:
        mean: over the seeds that both rows have.
        low, high: of the interval; None with fewer than `LEAST_SEEDS` seeds.
        seeds: that both have, ascending.
        better: with how many of them the first row has more AP.
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
        seeds = sorted(after.keys() & before.keys())
        pairs = [(after[seed], before[seed]) for seed in seeds]
        if not pairs:
            return None
        videos = pairs[0][0].video_ids
        if any(not np.array_equal(run.video_ids, videos) for pair in pairs for run in pair):
            raise ValueError("differences are of runs on the same videos")
        whole = np.ones((1, len(videos)), dtype=np.int64)
        each = _POINTS * np.array([_ap(one, whole)[0] - _ap(other, whole)[0] for one, other in pairs])
        low, high = self._interval(pairs) if len(seeds) >= LEAST_SEEDS else (None, None)
        return Difference(float(each.mean()), low, high, tuple(seeds), int((each > 0).sum()))

    def _interval(self, pairs: list[tuple[MatchedVideos, MatchedVideos]]) -> tuple[float, float]:
        from scipy.stats import bootstrap

        count = len(pairs[0][0].video_ids)

        def statistic(seeds: npt.NDArray[np.int64], videos: npt.NDArray[np.int64], axis: int = -1) -> Any:
            """Mean differences (...) of drawn seeds (..., S) on drawn videos (..., V)."""
            times = (videos[..., None, :] == np.arange(count)[:, None]).sum(axis=-1)  # (..., V)
            each = [self._of(one, times) - self._of(other, times) for one, other in pairs]
            return np.take_along_axis(np.stack(each, axis=-1), seeds, axis=-1).mean(axis=axis)

        found = bootstrap(
            (np.arange(len(pairs)), np.arange(count)),
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
