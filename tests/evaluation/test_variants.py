from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation.builders import box, ground_truth, result_entry, truth_entry

from stmask.evaluation import GroundTruth, check_results, evaluate, read_results
from stmask.evaluation.variants import boundary_ap, frame_ap

CASE = Path(__file__).parent / "data" / "case3_noisy"
A, B = box(100, 120, 10, 10, 60, 60), box(100, 120, 70, 30, 110, 90)


def scores(truths: list, results: list, variant: object) -> dict[str, float]:
    truth = GroundTruth.from_dict(ground_truth([(100, 120, 2)] * 2, truths))
    return variant(truth, check_results(results, truth)).stats


def test_frame_ap_does_not_see_the_tracking() -> None:
    truths = [truth_entry(1, 1, 1, [A, A]), truth_entry(2, 1, 1, [B, B])]
    swapped = [result_entry(1, 1, 0.9, [A, B]), result_entry(1, 1, 0.8, [B, A])]
    assert scores(truths, swapped, frame_ap)["AP"] == pytest.approx(1.0)
    truth = GroundTruth.from_dict(ground_truth([(100, 120, 2)] * 2, truths))
    assert evaluate(truth, swapped).stats["AP"] < 0.1


def test_frame_ap_counts_frames_where_a_track_is_wrongly_present() -> None:
    truths = [truth_entry(1, 1, 1, [A, None])]
    assert scores(truths, [result_entry(1, 1, 0.9, [A, None])], frame_ap)["AP"] == pytest.approx(1.0)
    # scores tie: frames are in order, so that the hit comes first
    assert scores(truths, [result_entry(1, 1, 0.9, [A, A])], frame_ap)["AR100"] == pytest.approx(1.0)
    assert scores(truths, [], frame_ap)["AP"] == 0.0


def test_frame_ap_of_videos_of_one_frame_is_video_ap() -> None:
    truths = [truth_entry(1, 1, 1, [A]), truth_entry(2, 2, 2, [B])]
    results = [result_entry(1, 1, 0.5, [A]), result_entry(2, 2, 0.5, [A]), result_entry(2, 2, 0.4, [B])]
    truth = GroundTruth.from_dict(ground_truth([(100, 120, 1)] * 2, truths))
    assert frame_ap(truth, check_results(results, truth)).stats == evaluate(truth, results).stats


def test_boundary_ap_asks_for_the_outline() -> None:
    truths = [truth_entry(1, 1, 1, [A, A])]
    assert scores(truths, [result_entry(1, 1, 0.9, [A, A])], boundary_ap)["AP"] == pytest.approx(1.0)
    loose = box(100, 120, 8, 8, 62, 62)
    video = evaluate(GroundTruth.from_dict(ground_truth([(100, 120, 2)] * 2, truths)), [])
    assert video.stats["AP"] == 0.0
    metrics = scores(truths, [result_entry(1, 1, 0.9, [loose, loose])], boundary_ap)
    # width round(0.02 * 156.2) = 3: rings of 54² - 48² = 612 and of 50² - 44² = 564 pixels share 50² - 48² = 196
    assert metrics["AP"] == 0.0
    near = box(100, 120, 10, 10, 60, 61)  # rings of 570 and 564: all but two rows of the sides and the lower edge
    ring = np.count_nonzero(_ring(A, 3) & _ring(near, 3)) / np.count_nonzero(_ring(A, 3) | _ring(near, 3))
    assert 0.5 < ring < 0.98
    expected = np.mean([threshold <= ring for threshold in np.linspace(0.5, 0.95, 10)])
    assert scores(truths, [result_entry(1, 1, 0.9, [near, near])], boundary_ap)["AP"] == pytest.approx(expected)


def _ring(mask: np.ndarray, width: int) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    inner = np.zeros_like(mask)
    inner[rows[0] + width : rows[-1] + 1 - width, columns[0] + width : columns[-1] + 1 - width] = True
    return mask & ~inner


def test_boundary_ap_is_never_above_ap() -> None:
    truth = GroundTruth.load(CASE / "gt.json")
    predictions = check_results(read_results(CASE / "results.json"), truth)
    plain, strict = evaluate(truth, predictions), boundary_ap(truth, predictions)
    assert (strict.recall <= plain.recall).all()
