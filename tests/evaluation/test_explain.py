"""Named scenarios: one thing goes wrong, and it gets its name and its price."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluation.builders import box, ground_truth, result_entry, truth_entry

from stmask.evaluation import GroundTruth, check_results, evaluate
from stmask.evaluation.causes import Cause
from stmask.evaluation.explain import Explanation, explain
from stmask.evaluation.groups import measure
from stmask.evaluation.video_ap import assign

HEIGHT, WIDTH, FRAMES = 20, 40, 4
LEFT, RIGHT, BELOW = box(HEIGHT, WIDTH, 2, 2, 12, 12), box(HEIGHT, WIDTH, 25, 2, 35, 12), box(20, 40, 2, 16, 12, 20)
SHIFTED = box(HEIGHT, WIDTH, 8, 2, 18, 12)  # IoU 1/4 with LEFT
TRUTH = [[LEFT] * FRAMES, [RIGHT] * FRAMES]  # of class 1, and of class 1 as well

ONE_ERROR = {
    "wrong class": ((2, [LEFT] * 4), Cause.WRONG_CLASS),
    "wrong class and poor mask": ((2, [SHIFTED] * 4), Cause.WRONG_CLASS),
    "poor mask": ((1, [SHIFTED] * 4), Cause.POOR_MASK),
    "too short": ((1, [LEFT, None, None, None]), Cause.POOR_TIME_SPAN),
    "jumps to the other": ((1, [LEFT, RIGHT, LEFT, RIGHT]), Cause.IDENTITY_SWITCH),
    "background": ((1, [BELOW] * 4), Cause.BACKGROUND),
    "empty": ((1, [None] * 4), Cause.BACKGROUND),
}


def explained(
    truths: list[tuple[int, list[Any]]], predictions: list[tuple[int, float, list[Any]]], **extra: Any
) -> Explanation:
    entries = [{**truth_entry(i, 1, k, masks), **extra} for i, (k, masks) in enumerate(truths, start=1)]
    truth = GroundTruth.from_dict(ground_truth([(HEIGHT, WIDTH, FRAMES)], entries))
    results = [result_entry(1, k, score, masks) for k, score, masks in predictions]
    overlaps = measure(truth, check_results(results, truth))
    explanation = explain(truth, overlaps, assign(truth, overlaps))
    assert explanation.ap50 == pytest.approx(evaluate(truth, results).stats["AP50"])
    assert sum(explanation.total.missed.values()) == explanation.total.tracks - explanation.total.found
    return explanation


def counts(numbers: Any) -> dict[Cause, int]:
    return {cause: number for cause, number in numbers.items() if number}


@pytest.mark.parametrize(("prediction", "cause"), ONE_ERROR.values(), ids=ONE_ERROR.keys())
def test_one_main_cause(prediction: tuple[int, list[Any]], cause: Cause) -> None:
    category, masks = prediction
    explanation = explained([(1, TRUTH[0]), (1, TRUTH[1])], [(category, 0.9, masks), (1, 0.8, TRUTH[1])])
    assert counts(explanation.total.false_positives) == {cause: 1}
    assert counts(explanation.total.missed) == {Cause.MISSED if cause is Cause.BACKGROUND else cause: 1}


def test_a_duplicate_is_the_lower_scored_of_two() -> None:
    explanation = explained([(1, TRUTH[0])], [(1, 0.9, TRUTH[0]), (1, 0.8, TRUTH[0])])
    assert counts(explanation.total.false_positives) == {Cause.DUPLICATE: 1}
    assert counts(explanation.total.missed) == {}
    assert explanation.total.cost[Cause.DUPLICATE] == 0.0  # it comes after the last hit


def test_what_fixing_a_cause_gains() -> None:
    """One of two tracks is found, and a fixed prediction is right with its score: AP50 goes from 51/101 to 1."""
    half = 51 / 101
    for category, masks in [(2, TRUTH[0]), (1, [SHIFTED] * 4), (1, [LEFT, None, None, None])]:
        explanation = explained([(1, TRUTH[0]), (1, TRUTH[1])], [(1, 0.9, TRUTH[1]), (category, 0.8, masks)])
        assert explanation.ap50 == pytest.approx(half)
        (cause,) = counts(explanation.total.false_positives)
        costs = {c: cost for c, cost in explanation.total.cost.items() if abs(cost) > 1e-9}
        assert costs == {cause: pytest.approx(1 - half)}


def test_a_missed_track_costs_what_it_takes_from_recall() -> None:
    explanation = explained([(1, TRUTH[0]), (1, TRUTH[1])], [(1, 0.9, TRUTH[1])])
    assert counts(explanation.total.missed) == {Cause.MISSED: 1}
    assert explanation.total.cost[Cause.MISSED] == pytest.approx(1 - 51 / 101)
    assert explained([(1, TRUTH[0])], []).total.cost[Cause.MISSED] == pytest.approx(1.0)


def test_two_predictions_meant_for_one_track_give_one_hit() -> None:
    predictions = [(1, 0.9, [SHIFTED] * 4), (1, 0.8, [SHIFTED] * 4)]
    explanation = explained([(1, TRUTH[0])], predictions)
    assert counts(explanation.total.false_positives) == {Cause.POOR_MASK: 2}
    assert explanation.total.cost[Cause.POOR_MASK] == pytest.approx(1.0)


def test_errors_are_listed_with_entry_and_annotation() -> None:
    explanation = explained([(1, TRUTH[0])], [(1, 0.5, [BELOW] * 4), (2, 0.9, TRUTH[0])])
    listed = {(e["kind"], e["cause"], e["entry"], e["annotation_id"]) for e in explanation.errors}
    assert listed == {
        ("false positive", "background", 0, None),
        ("false positive", "wrong class", 1, 1),
        ("missed track", "wrong class", None, 1),
    }
    assert {e["iou"] for e in explanation.errors if e["annotation_id"] == 1} == {1.0}


def test_groups_share_out_the_errors() -> None:
    occlusion = ["severe_occlusion", "severe_occlusion", "no_occlusion", None]
    explanation = explained(
        [(1, TRUTH[0]), (2, [RIGHT, RIGHT, None, None])], [(1, 0.5, [SHIFTED] * 4)], occlusion=occlusion, areas=None
    )
    assert set(explanation.groups) == {"class", "size", "length", "occlusion"}
    assert set(explanation.groups["class"]) == {"class 1", "class 2"}
    assert set(explanation.groups["occlusion"]) == {"severe_occlusion"}
    for groups in explanation.groups.values():
        assert sum(share.tracks for share in groups.values()) == 2
        assert sum(share.false_positives[Cause.POOR_MASK] for share in groups.values()) == 1
    one, two = (explanation.groups["class"][name] for name in ("class 1", "class 2"))
    assert one.cost[Cause.POOR_MASK] == pytest.approx(0.5)
    assert two.cost[Cause.MISSED] == pytest.approx(0.5)


def test_crowds_are_neither_missed_nor_meant() -> None:
    explanation = explained([(1, TRUTH[0])], [(1, 0.5, [SHIFTED] * 4)], iscrowd=1)
    assert explanation.ap50 == -1
    assert counts(explanation.total.false_positives) == {Cause.BACKGROUND: 1}
    assert explanation.total.tracks == 0


def test_nothing_at_all() -> None:
    explanation = explained([], [])
    assert explanation.errors == ()
    assert all(np.isfinite(value) for value in explanation.scalars().values())
