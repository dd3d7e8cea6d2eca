"""HOTA, MOTSA and IDF1: equal to TrackEval's on stored cases (data/tracking/README.md), and by hand on small ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from stmask.checkpoints import registry
from stmask.config import compose
from stmask.errors import ConfigError
from stmask.evaluation import GroundTruth, check_results
from stmask.evaluation.assignment import assign_most
from stmask.evaluation.groups import measure
from stmask.evaluation.tracking import TRACKING_COUNTS, TRACKING_METRICS, TrackingSums, tracking_metric, tracking_report

DATA = Path(__file__).parent / "data"
CASES = {case["name"]: case for case in json.loads((DATA / "tracking" / "cases.json").read_text())}
EXPECTED: dict[str, dict[str, dict[str, float]]] = json.loads((DATA / "tracking" / "expected.json").read_text())


def report_of(name: str) -> dict[str, dict[str, float]]:
    if name in CASES:
        case = CASES[name]
        truth, results = GroundTruth.from_dict(case["ground_truth"]), case["results"]
    else:
        case = {"min_score": 0.0}
        truth = GroundTruth.load(DATA / name / "gt.json")
        results = json.loads((DATA / name / "results.json").read_text())
    overlaps = measure(truth, check_results(results, truth))
    return tracking_report(truth, overlaps, min_score=case["min_score"]).as_json()


@pytest.mark.parametrize("name", EXPECTED)
def test_equal_to_trackeval(name: str) -> None:
    found = report_of(name)
    assert set(EXPECTED[name]) <= set(found)
    for row, values in EXPECTED[name].items():
        assert {key: found[row][key] for key in values} == pytest.approx(values, abs=1e-9), row


def test_every_stored_case_is_compared() -> None:
    assert set(CASES) < set(EXPECTED)
    assert len(EXPECTED) == len(CASES) + 3
    every = set(TRACKING_METRICS) | set(TRACKING_COUNTS)
    assert all(set(rows["all"]) == every for rows in EXPECTED.values())


def test_a_perfect_track() -> None:
    found = report_of("perfect")["all"]
    assert {found[name] for name in TRACKING_METRICS} == {1.0}


def test_two_tracks_that_switch_halfway() -> None:
    """Every mask is found, and each prediction shares half of its frames with each annotation."""
    found = report_of("two tracks that switch")["all"]
    assert (found["DetA"], found["LocA"], found["IDSW"], found["IDF1"]) == (1.0, 1.0, 2, 0.5)
    assert found["AssA"] == pytest.approx(1 / 3)
    assert found["HOTA"] == pytest.approx(np.sqrt(1 / 3))
    assert found["MOTSA"] == pytest.approx(1 - 2 / 20)


def test_nothing_at_all() -> None:
    truth = GroundTruth.from_dict({"videos": [], "categories": [{"id": 1, "name": "a"}], "annotations": []})
    report = tracking_report(truth, measure(truth, check_results([], truth)))
    assert report.class_mean == report.combined.metrics == TrackingSums().metrics
    assert {name for name, value in report.combined.metrics.items() if value} == {"LocA"}


def test_a_mask_without_a_pixel_is_none() -> None:
    case = CASES["perfect"]
    empty = {"size": [24, 32], "counts": coco_mask.encode(np.zeros((24, 32), np.uint8, order="F"))["counts"].decode()}
    results = [*case["results"], {**case["results"][0], "segmentations": [empty] * 10}]
    truth = GroundTruth.from_dict(case["ground_truth"])
    found = tracking_report(truth, measure(truth, check_results(results, truth))).combined
    assert found.counts["FP"] == 0


@pytest.mark.parametrize(
    ("gains", "rows", "columns"),
    [
        ([[1.0]], [0], [0]),
        ([[1.0, 3.0, 3.0]], [0], [1]),
        ([[0.0], [2.0], [1.0]], [1], [0]),
        ([[5.0, 4.0], [4.0, 0.0]], [0, 1], [1, 0]),
        ([[1.0, 1.0], [1.0, 1.0]], [0, 1], [0, 1]),
        ([[9.0, 8.0, 0.0], [8.0, 1.0, 0.0]], [0, 1], [1, 0]),
        ([[9.0, 8.0], [8.0, 1.0], [0.0, 0.0]], [0, 1], [1, 0]),
    ],
)
def test_assignments(gains: list[list[float]], rows: list[int], columns: list[int]) -> None:
    found = assign_most(np.array(gains))
    assert (found[0].tolist(), found[1].tolist()) == (rows, columns)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_assign(shape: tuple[int, int]) -> None:
    assert [part.tolist() for part in assign_most(np.zeros(shape))] == [[], []]


def test_assignments_equal_scipys_with_ties_too() -> None:
    optimize: Any = pytest.importorskip("scipy.optimize")
    draw = np.random.default_rng(0)
    for number in range(300):
        shape = draw.integers(1, 8, 2)
        gains = draw.random(shape) if number % 2 else draw.integers(0, 3, shape) / 2
        theirs = optimize.linear_sum_assignment(-gains)
        assert [part.tolist() for part in assign_most(gains)] == [part.tolist() for part in theirs]


def test_as_a_metric_of_validation() -> None:
    """Over the videos that were seen; named in a configuration, and in the card of a checkpoint."""
    case = CASES["false positives, misses, frames without anything"]
    truth = GroundTruth.from_dict(case["ground_truth"])
    seen = [entry for entry in case["results"] if entry["video_id"] == 1]
    whole = EXPECTED[case["name"]]["all"]
    assert tracking_metric(truth, case["results"], [2, 1], name="IDF1") == pytest.approx(whole["IDF1"], abs=1e-9)
    assert tracking_metric(truth, seen, [1]) > whole["HOTA"]  # without the false positive of video 2
    assert tracking_metric(truth, [], [1, 2]) == 0.0
    node = "{_target_: stmask.evaluation.tracking.tracking_metric, _partial_: true, name: %s}"
    composed = compose("train", ["data=synthetic", f"data.task.metrics.mine={node % 'IDF1'}"])
    assert composed.data.task.metrics.mine.name == "IDF1"
    with pytest.raises(ConfigError, match=r"data\.task\.metrics\.mine\.name must be 'HOTA' or .*, got 'MOTA'"):
        compose("train", ["data=synthetic", f"data.task.metrics.mine={node % 'MOTA'}"])
    assert registry.find("stmask.evaluation.tracking.tracking_metric", "data") is tracking_metric
