"""The annotated side of COCO's metric: an instances file as pycocotools wants it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from stmask.errors import DataError
from stmask.evaluation.ground_truth import Category
from stmask.evaluation.reading import collector_paused, read_large_json


@dataclass(frozen=True)
class ImageGroundTruth:
    """A COCO instances file.

    Attributes:
        categories: in file order; label k of an `ImageResult` is `categories[k - 1]`.
        coco: pycocotools' index of it; every annotation has a box, an area and a run-length encoded mask, ids from 1.
        source: names the file in errors.
    """

    categories: tuple[Category, ...]
    coco: COCO
    source: str

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ImageGroundTruth:
        """Reads a COCO instances file; raises `DataError` naming what is wrong."""
        with collector_paused():
            return cls.from_dict(read_large_json(path), source=os.fspath(path))

    @classmethod
    def from_dict(cls, content: Any, *, source: str = "ground truth") -> ImageGroundTruth:
        """Takes the content of a COCO instances file; `source` names it in errors."""
        try:
            categories = tuple(Category(int(entry["id"]), str(entry["name"])) for entry in content["categories"])
            images = {entry["id"]: (int(entry["height"]), int(entry["width"])) for entry in content["images"]}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{source} is not a COCO instances file: no sound images and categories") from error
        if not isinstance(content.get("annotations"), list):
            raise DataError(f"{source} has no annotations: there is nothing to score with")
        known = {category.id for category in categories}
        objects = [
            _object(entry, number, images, known, f"{source}: annotations[{number - 1}]")
            for number, entry in enumerate(content["annotations"], start=1)
        ]
        sizes = [{"id": image_id, "height": h, "width": w} for image_id, (h, w) in images.items()]
        return cls(categories, indexed(sizes, categories, objects), source)

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The dataset's own ids of the classes, in the order of the labels."""
        return tuple(category.id for category in self.categories)

    @property
    def sorted_categories(self) -> tuple[Category, ...]:
        """By id, the class axis of the figures."""
        return tuple(sorted(self.categories, key=lambda category: category.id))


def indexed(images: list[dict[str, Any]], categories: tuple[Category, ...], annotations: list[dict[str, Any]]) -> COCO:
    """What pycocotools makes of these entries, without a word."""
    coco = COCO()
    kinds = [{"id": category.id, "name": category.name} for category in categories]
    coco.dataset = {"images": images, "categories": kinds, "annotations": annotations}
    with silence():
        coco.createIndex()
    return coco


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing printed inside is seen: pycocotools talks on stdout."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _object(
    entry: Any, number: int, images: Mapping[int, tuple[int, int]], known: set[int], where: str
) -> dict[str, Any]:
    try:
        image_id, category_id, segmentation = entry["image_id"], entry["category_id"], entry["segmentation"]
        height, width = images[image_id]
        rle = _rle(segmentation, height, width)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} of an instances file needs image_id, category_id and segmentation") from error
    if category_id not in known:
        raise DataError(f"{where}: category_id {category_id!r} is not in the categories")
    box = entry.get("bbox") or coco_mask.toBbox(rle).tolist()
    area = entry["area"] if entry.get("area") is not None else float(coco_mask.area(rle))
    crowd = int(bool(entry.get("iscrowd")))
    return {
        "id": number,  # pycocotools takes an object with id 0 for none
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": rle,
        "bbox": box,
        "area": area,
        "iscrowd": crowd,
    }


def _rle(segmentation: Any, height: int, width: int) -> Any:
    """A mask as pycocotools compares it, from polygons, plain or compressed run lengths."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, height, width)
    return segmentation
