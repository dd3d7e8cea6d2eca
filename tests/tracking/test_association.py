from __future__ import annotations

import pytest
import torch
from tracking.scenes import detections

from stmask.tracking.association import DROPPED, NEW_TRACK, MatchWeights, NewObject, assign, match_scores

ONLY_NOTHING = MatchWeights(score=0.0, embedding=0.0, mask_iou=0.0, box_iou=0.0, label=0.0)


@pytest.mark.parametrize(
    ("scores", "detection_scores", "expected"),
    [
        ([[2.0, 1.0]], [0.5], [0]),
        ([[1.0, 2.0]], [0.5], [1]),
        ([[1.4, 1.4]], [0.5], [NEW_TRACK]),  # must beat the new object, not equal it
        ([[1.5, 1.5]], [0.5], [0]),  # of equal tracks the first
        ([[2.0], [3.0]], [0.9, 0.8], [0, DROPPED]),  # the better detection has it, not the better match
        ([[2.0], [3.0]], [0.8, 0.9], [DROPPED, 0]),
        ([[2.0], [3.0]], [0.8, 0.8], [0, DROPPED]),  # of equal detections the first
        ([[2.0, 0.0], [3.0, 1.9]], [0.9, 0.8], [0, DROPPED]),  # a loser does not fall back on its second choice
        ([[2.0, 0.0], [0.0, 0.0], [0.0, 2.0]], [0.1, 0.2, 0.3], [0, NEW_TRACK, 1]),
        ([[1.0], [1.0]], [0.9, 0.8], [NEW_TRACK, NEW_TRACK]),
    ],
)
def test_assign(scores: list[list[float]], detection_scores: list[float], expected: list[int]) -> None:
    got = assign(torch.tensor(scores), torch.tensor(detection_scores), new_object_score=1.4)
    assert got.tolist() == expected


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_assign_with_nothing(n: int, m: int) -> None:
    got = assign(torch.zeros(n, m), torch.zeros(n), new_object_score=1.4)
    assert got.tolist() == [NEW_TRACK] * n


def test_each_track_has_at_most_one_detection() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        scores = torch.rand(12, 5, generator=generator) * 3
        quality = torch.rand(12, generator=generator)
        got = assign(scores, quality, new_object_score=1.4)
        for track in range(5):
            rivals = [i for i in range(12) if scores[i].argmax() == track and scores[i].max() > 1.4]
            expected = max(rivals, key=lambda i: float(quality[i])) if rivals else None
            assert [i for i in range(12) if got[i] == track] == ([] if expected is None else [expected])


def test_the_released_new_object_scores_one_point_four() -> None:
    assert NewObject().score(MatchWeights()) == pytest.approx(0.5 + 3 * 0.3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("score", [[0.9, 0.9], [0.5, 0.5]]),
        ("embedding", [[1.0, 0.5], [0.5, 0.5]]),
        ("mask_iou", [[1.0, 0.0], [0.2, 0.5]]),
        ("box_iou", [[1.0, 0.0], [0.2, 0.5]]),
        ("label", [[1.0, 0.0], [1.0, 0.0]]),
    ],
)
def test_each_term_of_equation_15(name: str, expected: list[list[float]]) -> None:
    found = detections((0, 0.0, 0.9), (1, 0.2, 0.5))
    same = detections((0, 0.0, 0.3))
    other = detections((2, 0.3, 0.3), label=2)
    tracks = same.followed_by(other)
    weights = MatchWeights(**{**dict.fromkeys(("embedding", "mask_iou", "box_iou"), 0.0), name: 1.0})
    torch.testing.assert_close(match_scores(found, tracks, weights), torch.tensor(expected), atol=1e-5, rtol=0)
    assert (match_scores(found, tracks, ONLY_NOTHING) == 0).all()


def test_match_scores_with_nothing() -> None:
    some, none = detections((0, 0.1, 0.9)), detections()
    assert match_scores(none, some, MatchWeights()).shape == (0, 1)
    assert match_scores(some, none, MatchWeights()).shape == (1, 0)
