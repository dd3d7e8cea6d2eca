"""Video AP, from two files to the 12 metrics; no PyTorch in this process."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from stmask.benchmarks.gauge import PlainGauge
from stmask.benchmarks.worker import Outcome, Sample, Turns, Work

_PHASES = ("load truth", "load results", "IoU", "matching", "accumulation")


class Contender:
    """Two files.

    Args:
        truth: annotations.
        results: predictions.
    """

    unit = "scoring"
    stages: Mapping[str, str] = {
        "load truth": "reading, checking and decoding the annotations",
        "load results": "reading, checking and decoding the predictions",
        "IoU": "of each prediction with each track of its video and class",
        "matching": "predictions with tracks, at each threshold",
        "accumulation": "precision, recall and the metrics",
    }

    def __init__(self, *, truth: str, results: str) -> None:
        self._truth, self._results = Path(truth), Path(results)

    def serve(self, turns: Turns) -> Outcome:
        """Times whole scorings."""
        gauge = PlainGauge()
        turns.ready(gauge, seconds=_score(self._truth, self._results).milliseconds / 1000)
        for count in turns:
            turns.give([_score(self._truth, self._results) for _ in range(count)])
        size = self._truth.stat().st_size + self._results.stat().st_size
        return Outcome(Work(None, float(size)), {"MB": round(size / 1e6, 1)})


def _score(truth_path: Path, results_path: Path) -> Sample:
    from stmask.evaluation.ground_truth import GroundTruth
    from stmask.evaluation.groups import measure
    from stmask.evaluation.reading import collector_paused
    from stmask.evaluation.results import load_predictions
    from stmask.evaluation.video_ap import assign, summarise

    gc.collect()
    marks = [time.perf_counter()]
    with collector_paused():  # as `stmask metric` does
        truth = GroundTruth.load(truth_path)
        marks.append(time.perf_counter())
        predictions = load_predictions(results_path, truth)
        marks.append(time.perf_counter())
        overlaps = measure(truth, predictions)
        marks.append(time.perf_counter())
        matches = assign(truth, overlaps)
        marks.append(time.perf_counter())
        summarise(truth, overlaps, matches)
        marks.append(time.perf_counter())
    times = [1000 * (after - before) for before, after in pairwise(marks)]
    return Sample(1000 * (marks[-1] - marks[0]), dict(zip(_PHASES, times)))
