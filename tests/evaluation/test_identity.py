from __future__ import annotations

from typing import Any

import pytest
from evaluation.builders import box, ground_truth, result_entry, truth_entry

from stmask.evaluation import GroundTruth, check_results
from stmask.evaluation.groups import measure
from stmask.evaluation.identity import TrackIdentity, follow_identities

A, B = box(20, 40, 2, 2, 12, 12), box(20, 40, 25, 2, 35, 12)
NEAR_A = box(20, 40, 3, 2, 12, 12)
FULL = [A] * 6

# predictions (score, masks) of the one track FULL -> covered frames, switches, fragmentations
SCENARIOS: dict[str, tuple[list[tuple[float, list[Any]]], tuple[int, int, int]]] = {
    "followed": ([(0.9, FULL)], (6, 0, 0)),
    "never": ([], (0, 0, 0)),
    "elsewhere": ([(0.9, [B] * 6)], (0, 0, 0)),
    "late": ([(0.9, [None, None, A, A, A, A])], (4, 0, 0)),
    "lost and found": ([(0.9, [A, A, None, None, A, A])], (4, 0, 1)),
    "handed over": ([(0.9, [A, A, A, None, None, None]), (0.8, [None, None, None, A, A, A])], (6, 1, 0)),
    "lost, then another": ([(0.9, [A, A, None, None, None, None]), (0.8, [None, None, None, None, A, A])], (4, 1, 1)),
    "kept while good, though another fits better": ([(0.9, [A] + [NEAR_A] * 5), (0.8, [None] + [A] * 5)], (6, 0, 0)),
    "below the score": ([(0.1, FULL)], (0, 0, 0)),
}


@pytest.mark.parametrize(("predictions", "expected"), SCENARIOS.values(), ids=SCENARIOS.keys())
def test_scenarios(predictions: list[tuple[float, list[Any]]], expected: tuple[int, int, int]) -> None:
    truth = GroundTruth.from_dict(ground_truth([(20, 40, 6)], [truth_entry(7, 1, 2, FULL)]))
    results = [result_entry(1, 2, score, masks) for score, masks in predictions]
    overlaps = measure(truth, check_results(results, truth))
    assert follow_identities(truth, overlaps, min_score=0.5) == (TrackIdentity(7, 1, 2, 6, *expected),)


def test_two_tracks_that_swap_predictions_and_a_crowd() -> None:
    entries = [truth_entry(1, 1, 1, [A] * 4), truth_entry(2, 1, 1, [B] * 4), truth_entry(3, 1, 1, [A] * 4, crowd=1)]
    truth = GroundTruth.from_dict(ground_truth([(20, 40, 4)], entries))
    results = [result_entry(1, 1, 0.9, [A, A, B, B]), result_entry(1, 1, 0.8, [B, B, A, A])]
    identities = follow_identities(truth, measure(truth, check_results(results, truth)))
    assert [(row.annotation_id, row.switches) for row in identities] == [(1, 1), (2, 1)]


def test_frames_where_the_track_is_absent_neither_break_nor_count() -> None:
    truth = GroundTruth.from_dict(ground_truth([(20, 40, 4)], [truth_entry(1, 1, 1, [A, None, None, A])]))
    results = [result_entry(1, 1, 0.9, [A, None, B, A])]
    (row,) = follow_identities(truth, measure(truth, check_results(results, truth)))
    assert (row.frames, row.covered, row.switches, row.fragmentations) == (2, 2, 0, 0)
