from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluation.builders import box, ground_truth, result_entry, truth_entry

from stmask.evaluation import GroundTruth, evaluate
from stmask.evaluation.resampling import MatchedVideos

VIDEOS, LENGTH = 6, 2
Entries = list[dict[str, Any]]


def _scene(seed: int) -> tuple[Entries, Entries]:
    """Annotations, one of them a crowd, and predictions, good and bad, all with different scores."""
    rng = np.random.default_rng(seed)
    truths: Entries = []
    results: Entries = []
    scores = iter(rng.permutation(1000) / 1000)
    for video in range(1, VIDEOS + 1):
        for _ in range(int(rng.integers(0, 4))):
            x, category = int(rng.integers(0, 20)), int(rng.integers(1, 3))
            masks = [box(16, 32, x, 2, x + 10, 12)] * LENGTH
            truths.append(truth_entry(len(truths) + 1, video, category, masks, crowd=int(len(truths) == 3)))
            for shift in rng.integers(0, 4, size=2):
                found = [box(16, 32, x + int(shift), 2, x + 10 + int(shift), 12)] * LENGTH
                results.append(result_entry(video, category, float(next(scores)), found))
        x = int(rng.integers(0, 20))
        results.append(result_entry(video, 1, float(next(scores)), [box(16, 32, x, 0, x + 4, 4)] * LENGTH))
    return truths, results


def _ap(truths: Entries, results: Entries, times: list[int]) -> float:
    """Of the metric, for a dataset in which the videos are really there so many times."""
    annotations, entries, count = [], [], 0
    for video, number in enumerate(times, start=1):
        for _ in range(number):
            count += 1
            for entry in truths:
                if entry["video_id"] == video:
                    annotations.append({**entry, "video_id": count, "id": len(annotations) + 1})
            entries += [{**entry, "video_id": count} for entry in results if entry["video_id"] == video]
    truth = GroundTruth.from_dict(ground_truth([(16, 32, LENGTH)] * count, annotations))
    return evaluate(truth, entries).stats["AP"]


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_metric_of_so_many_copies_of_each_video(seed: int) -> None:
    truths, results = _scene(seed)
    truth = GroundTruth.from_dict(ground_truth([(16, 32, LENGTH)] * VIDEOS, truths))
    matched = MatchedVideos.of(truth, results)
    times = np.random.default_rng(seed).multinomial(VIDEOS, [1 / VIDEOS] * VIDEOS, size=8)
    times = np.concatenate([np.ones((1, VIDEOS), dtype=np.int64), times])
    expected = [_ap(truths, results, row) for row in times.tolist()]
    assert len(set(expected)) > 4
    np.testing.assert_allclose(matched.average_precision(times), expected, rtol=0, atol=1e-12)


def test_some_of_the_videos() -> None:
    truths, results = _scene(1)
    truth = GroundTruth.from_dict(ground_truth([(16, 32, LENGTH)] * VIDEOS, truths))
    some = MatchedVideos.of(truth, results).only(np.array([2, 3, 6]))
    assert some.average_precision(np.ones((1, 3), dtype=np.int64))[0] == pytest.approx(
        _ap(truths, results, [0, 1, 1, 0, 0, 1]), abs=1e-12
    )


def test_without_annotations_there_is_no_ap_and_without_predictions_it_is_0() -> None:
    truths, results = _scene(0)
    truth = GroundTruth.from_dict(ground_truth([(16, 32, LENGTH)] * VIDEOS, truths))
    nowhere = np.zeros((1, VIDEOS), dtype=np.int64)
    assert np.isnan(MatchedVideos.of(truth, results).average_precision(nowhere)).all()
    assert MatchedVideos.of(truth, []).average_precision(nowhere + 1).tolist() == [0.0]
    assert MatchedVideos.of(truth, []).average_precision(nowhere[:0]).tolist() == []
