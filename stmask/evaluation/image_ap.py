"""Average precision of masks and boxes on single images: pycocotools' evaluation, and its metrics by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stmask.errors import DataError
from stmask.evaluation.curves import Curves
from stmask.evaluation.ground_truth import Category
from stmask.evaluation.image_truth import ImageGroundTruth, indexed, silence
from stmask.evaluation.results import category_of
from stmask.evaluation.video_ap import MASK_METRICS, ClassReport, curve_metrics

if TYPE_CHECKING:  # importing the records would import torch, which scoring does not need
    from stmask.structures import ImageResult

BOX_METRICS = tuple(f"box_{name}" for name in MASK_METRICS)
IMAGE_METRICS = (*MASK_METRICS, *BOX_METRICS)


@dataclass(frozen=True)
class ImageAPReport:
    """The result of COCO's evaluation. Areas: small up to 32², medium up to 96² pixels.

    Attributes:
        stats: the 12 mask metrics by their usual names, then the box metrics as "box_AP" and so on; in [0, 1], -1
            where undefined.
        categories: by id, the class axis of the curves.
        masks, boxes: the full precision, recall and score arrays.
        objects, predictions: (K,) annotated objects (crowds left out) and predictions of each category.
    """

    stats: dict[str, float]
    categories: tuple[Category, ...]
    masks: Curves
    boxes: Curves
    objects: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.int64]

    @property
    def per_class(self) -> tuple[ClassReport, ...]:
        """The metrics of each category on its own, by category id."""
        return tuple(
            ClassReport(
                category,
                _stats(self.masks, self.boxes, slice(k, k + 1)),
                tracks=int(self.objects[k]),
                predictions=int(self.predictions[k]),
            )
            for k, category in enumerate(self.categories)
        )


def to_detections(results: Sequence[ImageResult], category_ids: Sequence[int | None]) -> list[dict[str, Any]]:
    """The entries of a results.json in COCO's detection format: label k becomes `category_ids[k - 1]`.

    Instances of a class whose id is None are left out: the dataset does not have it.

    Raises:
        DataError: a label is not in 1..K.
    """
    entries = []
    for result in results:
        for instance in result.instances:
            place = f"image {result.image_id} has an instance of label {instance.label}"
            category_id = category_of(instance.label, category_ids, place=place)
            if category_id is None:
                continue
            x1, y1, x2, y2 = instance.box_px
            entries.append(
                {
                    "image_id": result.image_id,
                    "category_id": category_id,
                    "score": instance.score,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": instance.segmentation,
                }
            )
    return entries


def evaluate_images(
    ground_truth: ImageGroundTruth,
    entries: Sequence[Mapping[str, Any]],
    *,
    image_ids: Sequence[int] | None = None,
) -> ImageAPReport:
    """Scores detections in COCO's format, their masks and their boxes.

    Args:
        image_ids: score only these images; None for all.

    Raises:
        DataError: an entry of an image or category that the ground truth does not have.
    """
    seen = sorted(ground_truth.coco.imgs) if image_ids is None else list(image_ids)
    for index, entry in enumerate(entries):
        for key, known in (("image_id", ground_truth.coco.imgs), ("category_id", ground_truth.coco.cats)):
            if entry[key] not in known:
                raise DataError(f"results: entry {index}: {key} {entry[key]!r} is not in {ground_truth.source}")
    masks = _curves(ground_truth, _with_areas(entries, of_masks=True), "segm", seen)
    boxes = _curves(ground_truth, _with_areas(entries, of_masks=False), "bbox", seen)
    ids = [category.id for category in ground_truth.sorted_categories]
    truth = [a for a in ground_truth.coco.loadAnns(ground_truth.coco.getAnnIds(imgIds=seen)) if not a["iscrowd"]]
    return ImageAPReport(
        stats=_stats(masks, boxes),
        categories=ground_truth.sorted_categories,
        masks=masks,
        boxes=boxes,
        objects=_counts(truth, ids),
        predictions=_counts(entries, ids),
    )


def _stats(masks: Curves, boxes: Curves, categories: slice = slice(None)) -> dict[str, float]:
    of_boxes = {f"box_{name}": value for name, value in curve_metrics(boxes, categories).items()}
    return curve_metrics(masks, categories) | of_boxes


def _with_areas(entries: Sequence[Mapping[str, Any]], *, of_masks: bool) -> list[dict[str, Any]]:
    """The entries with an id and the area by which pycocotools sorts them into small, medium and large."""
    if of_masks:  # one by one: with numpy 2 the library fails on lists of over 255
        areas = [coco_mask.area(entry["segmentation"]) for entry in entries]
    else:
        areas = [entry["bbox"][2] * entry["bbox"][3] for entry in entries]
    return [
        {**entry, "id": number, "area": float(area), "iscrowd": 0}
        for number, (entry, area) in enumerate(zip(entries, areas, strict=True), start=1)
    ]


def _curves(truth: ImageGroundTruth, detections: list[dict[str, Any]], kind: str, image_ids: list[int]) -> Curves:
    found: COCO = indexed(truth.coco.dataset["images"], truth.categories, detections)
    evaluation = COCOeval(truth.coco, found, kind)
    evaluation.params.imgIds = image_ids
    with silence():
        evaluation.evaluate()
        evaluation.accumulate()
    return Curves(*(evaluation.eval[name] for name in ("precision", "recall", "scores")))


def _counts(entries: Sequence[Mapping[str, Any]], ids: list[int]) -> npt.NDArray[np.int64]:
    places = np.searchsorted(ids, np.array([entry["category_id"] for entry in entries], dtype=np.int64))
    return np.bincount(places, minlength=len(ids))
