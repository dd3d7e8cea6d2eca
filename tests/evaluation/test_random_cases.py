"""The fast scorer against the plain one on drawn cases.

Masks are rectangles of few large cells, so that IoUs meet thresholds and areas meet bounds exactly, and scores are few,
so that there are ties within and across videos.
"""

from __future__ import annotations

import numpy as np
import pytest
from evaluation import plain_scorer as plain
from evaluation.builders import ground_truth, result_entry, truth_entry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stmask.evaluation import GroundTruth, evaluate

pytestmark = pytest.mark.usefixtures("each_implementation")

CATEGORIES = [1, 2, 4]
GRIDS = [(5, 5), (3, 6)]


@st.composite
def masks(draw: st.DrawFn, grid: tuple[int, int], length: int) -> plain.Masks:
    frames: plain.Masks = []
    for _ in range(length):
        if draw(st.integers(0, 4)) == 0:
            frames.append(None)
            continue
        x1, y1 = draw(st.integers(0, grid[1] - 1)), draw(st.integers(0, grid[0] - 1))
        x2, y2 = draw(st.integers(x1, grid[1])), draw(st.integers(y1, grid[0]))  # may be empty
        mask = np.zeros(grid, dtype=bool)
        mask[y1:y2, x1:x2] = True
        frames.append(mask)
    return frames


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[tuple[int, int], int]], list[plain.Truth], list[plain.Prediction]]:
    videos = draw(st.lists(st.tuples(st.sampled_from(GRIDS), st.integers(1, 3)), min_size=1, max_size=3))
    truths, predictions = [], []
    for video, (grid, length) in enumerate(videos, start=1):
        for _ in range(draw(st.integers(0, 3))):
            category, crowd = draw(st.sampled_from(CATEGORIES[:2])), draw(st.integers(0, 4)) == 0
            truths.append(plain.Truth(video, category, crowd, draw(masks(grid, length))))
        originals = [t for t in truths if t.video == video]
        for _ in range(draw(st.integers(0, 5))):
            category, score = draw(st.sampled_from(CATEGORIES)), draw(st.sampled_from([0.25, 0.5, 0.75]))
            if originals and draw(st.booleans()):
                truth = draw(st.sampled_from(originals))
                copy = [None if mask is None or draw(st.integers(0, 5)) == 0 else mask for mask in truth.masks]
                predictions.append(plain.Prediction(video, truth.category, score, copy))
            else:
                predictions.append(plain.Prediction(video, category, score, draw(masks(grid, length))))
    return videos, truths, draw(st.permutations(predictions))


def pixels(frames: plain.Masks) -> plain.Masks:
    return [None if m is None else np.kron(m, np.ones((plain.CELL, plain.CELL), dtype=bool)) for m in frames]


def assert_equal(
    videos: list[tuple[tuple[int, int], int]], truths: list[plain.Truth], predictions: list[plain.Prediction]
) -> None:
    content = ground_truth(
        [(grid[0] * plain.CELL, grid[1] * plain.CELL, length) for grid, length in videos],
        [truth_entry(i, t.video, t.category, pixels(t.masks), int(t.crowd)) for i, t in enumerate(truths, start=1)],
        category_ids=CATEGORIES,
    )
    results = [result_entry(p.video, p.category, p.score, pixels(p.masks)) for p in predictions]
    ours = list(evaluate(GroundTruth.from_dict(content), results).stats.values())
    expected = plain.metrics(truths, predictions, videos=len(videos), categories=CATEGORIES)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_all_metrics_agree(case: tuple) -> None:
    assert_equal(*case)


@pytest.mark.parametrize("seed", range(2))
def test_more_than_a_hundred_tracks_of_a_class_in_a_video(seed: int) -> None:
    """Only the best hundred count, among equal scores the first in the file."""
    random = np.random.default_rng(seed)
    grid = (2, 3)
    truths = [plain.Truth(1, 1, False, [random.random(grid) < 0.5]) for _ in range(2)]
    predictions = [
        plain.Prediction(1, 1, float(random.choice([0.1, 0.2, 0.3])), [random.random(grid) < 0.3]) for _ in range(140)
    ]
    predictions += [plain.Prediction(1, 1, 0.1, truth.masks) for truth in truths]  # beyond the hundred
    assert_equal([(grid, 1)], truths, predictions)


def test_no_annotations_and_no_predictions() -> None:
    assert_equal([(GRIDS[0], 1)], [], [])
