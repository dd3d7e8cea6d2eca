"""AP of masks and boxes on images: hand-made cases, and pycocotools' own summary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluation.builders import box, rle
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stmask.errors import DataError
from stmask.evaluation import FIGURES
from stmask.evaluation.image_ap import IMAGE_FIGURES, ImageAPReport, evaluate_images, to_detections
from stmask.evaluation.image_truth import ImageGroundTruth
from stmask.evaluation.report import class_csv, class_table, image_figures_table
from stmask.structures import ImageInstance, ImageResult
from stmask.tasks import Images

SIZE = 40, 50
HALF = 51 / 101  # one of two objects found: precision 1 at the recall points 0, 0.01 .. 0.5


def truth_object(number: int, image: int, mask: np.ndarray, category: int = 3, **more: object) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "segmentation": rle(mask), **more}


def document(*objects: dict[str, Any], images: int = 2) -> dict[str, Any]:
    return {
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "images": [
            {"id": i, "height": SIZE[0], "width": SIZE[1], "file_name": f"{i}.jpg"} for i in range(1, images + 1)
        ],
        "annotations": list(objects),
    }


def found(mask: np.ndarray, *, label: int = 2, score: float = 0.9, box_px: tuple[float, ...] | None = None) -> Any:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    tight = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return ImageInstance(label, score, box_px or tight, rle(mask))  # type: ignore[arg-type]


def score(content: dict[str, Any], *results: ImageResult) -> ImageAPReport:
    truth = ImageGroundTruth.from_dict(content)
    return evaluate_images(truth, to_detections(results, truth.category_ids))


A, B = box(*SIZE, 2, 2, 22, 20), box(*SIZE, 25, 10, 45, 35)


def test_perfect_detections() -> None:
    content = document(truth_object(1, 1, A), truth_object(2, 2, B, category=7))
    report = score(content, ImageResult(1, (found(A),)), ImageResult(2, (found(B, label=1),)))
    assert list(report.stats) == list(IMAGE_FIGURES)
    for name in ("AP", "AP50", "AP75", "APS", "AR1", "AR100", "box_AP", "box_AP75", "box_AR10"):
        assert report.stats[name] == pytest.approx(1), name
    assert report.stats["APL"] == report.stats["box_APL"] == -1  # nothing that large
    assert [(row.category.name, row.tracks, row.predictions) for row in report.per_class] == [
        ("cat", 1, 1),
        ("dog", 1, 1),
    ]


def test_one_of_two_objects_found() -> None:
    content = document(truth_object(1, 1, A), truth_object(2, 2, B))
    report = score(content, ImageResult(1, (found(A),)), ImageResult(2, ()))
    assert report.stats["AP"] == report.stats["box_AP50"] == pytest.approx(HALF)
    assert report.stats["AR100"] == pytest.approx(0.5)
    dog = report.per_class[1]
    assert set(dog.stats.values()) == {-1.0}  # none of that class is annotated


def test_a_right_box_with_half_of_the_mask() -> None:
    corners = np.triu(np.ones((18, 20), dtype=bool))  # touches all four sides
    part = np.zeros(SIZE, dtype=bool)
    part[2:20, 2:22] = corners
    report = score(document(truth_object(1, 1, A)), ImageResult(1, (found(part),)))
    iou = part.sum() / A.sum()
    assert 0.55 < iou < 0.6
    assert report.stats["AP"] == pytest.approx(0.2)  # of the thresholds .50 .. .95 it passes two
    assert report.stats["box_AP"] == pytest.approx(1)


def test_sizes_of_masks_are_those_of_masks_and_not_of_their_boxes() -> None:
    """A false positive counts among objects of its own size: a frame of few pixels and a large box is small."""
    large, ring = np.ones((120, 120), dtype=bool), np.zeros((120, 120), dtype=bool)
    ring[0], ring[-1], ring[:, 0], ring[:, -1] = True, True, True, True
    content = document(truth_object(1, 1, large))
    content["images"][0] |= {"height": 120, "width": 120}
    report = score(content, ImageResult(1, (found(ring, score=0.95), found(large, score=0.9))))
    assert report.stats["APL"] == pytest.approx(1)
    assert report.stats["AP"] == pytest.approx(0.5)


def test_inside_a_crowd_nothing_is_wrong() -> None:
    crowd = truth_object(9, 1, B, iscrowd=1)
    content = document(truth_object(1, 1, A), crowd)
    inside = found(box(*SIZE, 30, 15, 36, 22), score=0.99)
    report = score(content, ImageResult(1, (inside, found(A))))
    assert report.stats["AP"] == report.stats["box_AP"] == pytest.approx(1)
    assert report.per_class[0].tracks == 1


def test_an_id_of_zero_polygons_and_measures_that_are_left_out() -> None:
    content = document(truth_object(0, 1, A))
    content["annotations"][0]["segmentation"] = [[2, 2, 22, 2, 22, 20, 2, 20]]
    report = score(content, ImageResult(1, (found(A),)))
    assert report.stats["AP"] == report.stats["box_AP"] == pytest.approx(1)


def test_nothing_found_and_nothing_annotated() -> None:
    nothing = ImageResult(1, ())
    assert score(document(truth_object(1, 1, A)), nothing).stats["AP"] == 0
    assert score(document(), nothing).stats["AP"] == -1
    assert score(document(), ImageResult(1, (found(A),))).stats["AP"] == -1


def random_case(seed: int) -> tuple[dict[str, Any], list[ImageResult]]:
    """Objects of all sizes, some missed, shifted, confused, doubled or crowds; over 255 detections in all."""
    rng, big, count = np.random.default_rng(seed), (130, 160), 60
    objects, results = [], []
    for image in range(1, count + 1):
        instances = []
        for _ in range(int(rng.integers(0, 8))):
            side = int(rng.choice((12, 40, 100)))
            x, y, w, h = (int(n) for n in (*rng.integers(1, 30, 2), *(side + rng.integers(-8, 9, 2))))
            label, crowd = int(rng.integers(1, 3)), int(rng.random() < 0.1)
            mask = box(*big, x, y, x + w, y + h)
            objects.append(truth_object(len(objects) + 1, image, mask, (7, 3)[label - 1], iscrowd=crowd))
            for _ in range(int(rng.integers(0, 4))):
                dx, dy, right = *rng.integers(-1, 2, 2), rng.random() < 0.9
                moved = box(*big, x + dx, y + dy, x + dx + w, y + dy + h)
                rough = tuple(float(n) for n in (x, y, x + w + dx, y + h))
                instances.append(
                    found(moved, label=label if right else 3 - label, score=float(rng.random()), box_px=rough)
                )
        results.append(ImageResult(image, tuple(instances)))
    content = document(*objects, images=count)
    content["images"] = [entry | {"height": big[0], "width": big[1]} for entry in content["images"]]
    return content, results


def measured(entries: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    areas = {
        "segm": lambda e: float(coco_mask.area(e["segmentation"])),
        "bbox": lambda e: e["bbox"][2] * e["bbox"][3],
    }
    return [{**e, "id": i, "area": areas[kind](e), "iscrowd": 0} for i, e in enumerate(entries, start=1)]


def test_the_figures_are_those_of_pycocotools(capsys: pytest.CaptureFixture[str]) -> None:
    content, results = random_case(0)
    report = score(content, *results)
    assert capsys.readouterr().out == ""
    truth = ImageGroundTruth.from_dict(content)
    entries = to_detections(results, truth.category_ids)
    assert len(entries) > 255
    for kind, prefix in (("segm", ""), ("bbox", "box_")):
        official = COCO()  # not by `loadRes`: with numpy 2 it cannot measure over 255 masks
        official.dataset = truth.coco.dataset | {"annotations": measured(entries, kind)}
        official.createIndex()
        evaluation = COCOeval(truth.coco, official, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert [report.stats[prefix + name] for name in FIGURES] == pytest.approx(evaluation.stats.tolist(), abs=1e-12)
    assert all(0 < value < 1 for value in report.stats.values())
    assert report.stats["AP"] != report.stats["box_AP"]


def test_tables() -> None:
    content = document(truth_object(1, 1, A), truth_object(2, 2, B))
    report = score(content, ImageResult(1, (found(A),)))
    assert "50.5" in image_figures_table(report)
    assert "32²" in image_figures_table(report)
    assert "cat" in class_table(report)
    header, cat, dog = class_csv(report).splitlines()
    assert header.startswith("category_id,name,tracks,predictions,AP,")
    assert header.endswith("box_ARL")
    assert cat.startswith("3,cat,2,1,0.50")
    assert dog.startswith("7,dog,0,0,,")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("categories"), "ground truth is not a COCO instances file"),
        (lambda d: d.update(images=[{"id": 1}]), r"images\[0\] needs 'file_name'"),
        (lambda d: d.update(images=[None]), r"images\[0\] must be an object, got null"),
        (lambda d: d.pop("annotations"), "has no annotations"),
        (lambda d: d["annotations"][0].pop("segmentation"), r"annotations\[0\] needs .*'segmentation'"),
        (lambda d: d["annotations"][0].update(image_id=9), r"annotations\[0\]: image_id 9 is not in the images"),
        (lambda d: d["annotations"][0].pop("image_id"), r"annotations\[0\] of an instances file needs"),
        (lambda d: d["annotations"][0].update(segmentation=[[0, 0, 9e9, 0, 9, 9]]), "far outside of its frame"),
        (lambda d: d["annotations"][0]["segmentation"].update(counts="abc"), r"annotations\[0\].segmentation: counts"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3, "4"]), r"annotations\[0\]: 'bbox' must be"),
        (lambda d: d["annotations"].append(d["annotations"][0]), "have the same id 1"),
        (lambda d: d["annotations"][0].update(category_id=9), r"annotations\[0\]: category_id 9 is not"),
    ],
)
def test_what_is_no_instances_file_is_named(change: Any, message: str) -> None:
    content = document(truth_object(1, 1, A))
    change(content)
    with pytest.raises(DataError, match=message):
        ImageGroundTruth.from_dict(content)


def test_results_of_another_dataset_are_refused() -> None:
    content = document(truth_object(1, 1, A))
    with pytest.raises(DataError, match="image 1 has an instance of label 3, the dataset has the classes 1..2"):
        score(content, ImageResult(1, (found(A, label=3),)))
    with pytest.raises(DataError, match="entry 0: image_id 8 is not in"):
        score(content, ImageResult(8, (found(A),)))


def test_only_the_images_that_were_seen_are_scored() -> None:
    truth = ImageGroundTruth.from_dict(document(truth_object(1, 1, A), truth_object(2, 2, B)))
    entries = to_detections([ImageResult(1, (found(A),)), ImageResult(2, ())], truth.category_ids)
    assert [entry["bbox"] for entry in entries] == [[2.0, 2.0, 20.0, 18.0]]
    assert Images().score(truth, entries, [1]).metrics["AP"] == pytest.approx(1)
    scores = Images().score(truth, entries, [2, 1])
    assert scores.metrics["AP"] == pytest.approx(HALF)
    assert scores.metrics == evaluate_images(truth, entries).stats
