"""Agreement with the official evaluator, whose numbers for three small cases are kept beside this file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stmask.evaluation import MASK_METRICS, GroundTruth, check_results, evaluate, read_results
from stmask.evaluation.groups import measure

pytestmark = [
    pytest.mark.usefixtures("each_implementation"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools with numpy 2
]

CASES = sorted((Path(__file__).parent / "data").glob("case*"))


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_number_of_the_official_evaluator(case: Path) -> None:
    ground_truth = GroundTruth.load(case / "gt.json")
    report = evaluate(ground_truth, read_results(case / "results.json", ground_truth))
    expected = np.load(case / "expected.npz")
    assert tuple(report.stats) == MASK_METRICS
    np.testing.assert_allclose(list(report.stats.values()), expected["stats"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(report.precision, expected["precision"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(report.recall, expected["recall"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(report.curves.scores, expected["scores"])


def test_ious_are_equal_to_the_last_bit(case: Path) -> None:
    ground_truth = GroundTruth.load(case / "gt.json")
    overlaps = measure(ground_truth, check_results(read_results(case / "results.json"), ground_truth))
    expected = np.load(case / "expected.npz")
    assert overlaps.groups
    for group in overlaps.groups:
        first = overlaps.predictions.take(group.predictions[:1])
        table = expected[f"iou_{first.video_ids[0]}_{first.category_ids[0]}"]
        np.testing.assert_array_equal(group.ious, table)


def test_polygons_run_lists_and_missing_areas_give_the_same(case: Path) -> None:
    """The forms in which annotations come are equal: here the compressed masks become lists of runs."""
    from pycocotools import mask as coco_mask

    content = json.loads((case / "gt.json").read_text())
    for track in content["annotations"]:
        del track["areas"]
        for frame, mask in enumerate(track["segmentations"]):
            if mask is not None and isinstance(mask["counts"], str):
                pixels = coco_mask.decode([mask])[..., 0].reshape(-1, order="F")
                ends = np.flatnonzero(np.diff(pixels, prepend=0, append=1 - pixels[-1]))
                runs = np.diff(ends, prepend=0).tolist()
                track["segmentations"][frame] = {"size": mask["size"], "counts": runs}
    results = json.loads((case / "results.json").read_text())
    expected = evaluate(GroundTruth.load(case / "gt.json"), results).stats
    assert evaluate(GroundTruth.from_dict(content), results).stats == expected
