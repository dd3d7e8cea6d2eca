from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from evaluation.builders import box, ground_truth, result_entry, truth_entry
from pycocotools import mask as coco_mask

from stmask.errors import DataError
from stmask.evaluation import GroundTruth, evaluate

pytestmark = [
    pytest.mark.usefixtures("each_implementation"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools with numpy 2
]

MASK = box(8, 10, 1, 2, 5, 6)


def content(**track: Any) -> dict[str, Any]:
    return ground_truth([(8, 10, 2)], [{**truth_entry(1, 1, 2, [MASK, None]), **track}])


@pytest.mark.parametrize("annotations", ["missing", "null"])
def test_an_unlabelled_file_loads_and_is_refused_when_scoring(annotations: str) -> None:
    data = ground_truth([(8, 10, 2)], None)
    if annotations == "missing":
        del data["annotations"]
    truth = GroundTruth.from_dict(data, source="test.json")
    assert truth.tracks is None
    with pytest.raises(DataError, match="test.json has no annotations, so nothing can be scored"):
        evaluate(truth, [])


FORMS = {
    "list of runs": {"size": [8, 10], "counts": [10, 4, 4, 4, 4, 4, 4, 4, 42]},
    "polygon": [[1, 2, 5, 2, 5, 6, 1, 6]],
    "two polygons": [[1, 2, 5, 2, 5, 4, 1, 4], [1, 4, 5, 4, 5, 6, 1, 6]],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_all_forms_of_a_mask(form: Any) -> None:
    truth = GroundTruth.from_dict(content(segmentations=[form, None], areas=None))
    (track,) = truth.labelled_tracks
    assert track.segmentations[1] is None
    np.testing.assert_array_equal(coco_mask.decode([track.segmentations[0]])[..., 0], MASK)
    assert truth.areas.tolist() == [16.0]


def test_the_areas_of_the_file_decide_about_size() -> None:
    truth = GroundTruth.from_dict(content(areas=[128**2 + 1, None]))
    stats = evaluate(truth, [result_entry(1, 2, 0.5, [MASK, None])]).stats
    assert [stats["APS"], stats["APM"], stats["APL"]] == pytest.approx([-1.0, 1.0, -1.0])


def test_labels_follow_file_order_and_classes_are_reported_by_id() -> None:
    data = ground_truth([(8, 10, 2)], [], category_ids=(7, 3))
    truth = GroundTruth.from_dict(data)
    assert truth.category_ids == (7, 3)
    assert [row.category.id for row in evaluate(truth, []).per_class] == [3, 7]


def test_an_annotation_with_id_zero_is_matched_like_any_other() -> None:
    truth = GroundTruth.from_dict(content(id=0))
    assert evaluate(truth, [result_entry(1, 2, 0.5, [MASK, None])]).stats["AP"] == pytest.approx(1.0)


BAD = {
    "unknown video": (content(video_id=3), "annotations[0]: video_id 3 is not among the videos"),
    "unknown category": (content(category_id=8), "annotations[0]: category_id 8 is not among the categories"),
    "length": (
        content(segmentations=[None], areas=None),
        "annotations[0]: segmentations has 1 entries, video 1 has 2 frames",
    ),
    "no masks": (content(segmentations=None), "annotations[0]: 'segmentations' must be a list"),
    "size": (content(segmentations=[{"size": [10, 8], "counts": "0"}, None]), "segmentations[0]: size [10, 8]"),
    "runs": (content(segmentations=[{"size": [8, 10], "counts": [79]}, None]), "cover 79 of 80 pixels"),
    "negative run": (content(segmentations=[{"size": [8, 10], "counts": [90, -10]}, None]), "a list of run lengths"),
    "no runs": (content(segmentations=[{"size": [8, 10], "counts": []}, None]), "a list of run lengths"),
    "polygon": (content(segmentations=[[[1, 2, 3]], None]), "a polygon must be a list of at least three x, y pairs"),
    "counts": (
        content(segmentations=[{"size": [8, 10], "counts": "2"}, None]),
        "annotations[0].segmentations[0]: counts",
    ),
    "areas": (content(areas=["a", None]), "annotations[0]: 'areas' must hold numbers or null, got 'a'"),
    "areas of another length": (content(areas=[1]), "annotations[0]: 'areas' has 1 entries, 'segmentations' has 2"),
    "occlusion": (content(occlusion=[[], None]), "annotations[0]: 'occlusion' must hold text or null"),
    "list": ([], "expected an object with videos, categories and annotations, not a list, as results are"),
    "text": ("{}", "expected an object with videos, categories and annotations"),
    "videos": ({**content(), "videos": None}, "videos must be a list"),
    "entry": ({**content(), "videos": [3]}, "videos[0] must be an object, got int"),
    "width": ({**content(), "videos": [{"id": 1, "width": 0}]}, "videos[0]"),
    "ids": (
        {**content(), "categories": [{"id": 2, "name": "a"}, {"id": 2, "name": "b"}]},
        "categories[0] and categories[1] have the same id 2",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD.keys())
def test_a_wrong_file_is_refused_by_name(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=r"^gt\.json: .*" + re.escape(message)):
        GroundTruth.from_dict(data, source="gt.json")


@pytest.mark.parametrize("videos", [{}, {"videos": [{"id": 1, "width": 4, "height": 4, "length": 1}]}])
def test_files_of_images_are_refused(videos: dict[str, Any]) -> None:
    images = {"images": [{"id": 1}], "categories": [], "annotations": [{"id": 1, "image_id": 1, "segmentation": []}]}
    with pytest.raises(DataError, match="is of images .*, not of videos: data=coco_images"):
        GroundTruth.from_dict({**videos, **images})
