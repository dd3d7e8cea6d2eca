"""The annotated side of COCO's metric: an instances file as pycocotools wants it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from stmask.errors import DataError
from stmask.evaluation.ground_truth import Category, entries_by_id, read_rle
from stmask.evaluation.overlap import BrokenTrackError, pack_checked
from stmask.evaluation.reading import collector_paused, read_large_json
from stmask.formats.entries import TRACK_KEY_MISSING, WRONG_LENGTH, VideoEntry, read_image, read_track
from stmask.formats.fields import EntryError


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
        for key in ("images", "categories"):
            if not isinstance(content, Mapping) or key not in content:
                raise DataError(f"{source} is not a COCO instances file: it has no {key!r}")
        categories = entries_by_id(content, "categories", Category.read, source)
        images = entries_by_id(content, "images", read_image, source)
        if content.get("annotations") is None:
            raise DataError(f"{source} has no annotations: there is nothing to score with")
        make_object = partial(_object, images=images, categories=categories)
        objects = list(entries_by_id(content, "annotations", make_object, source).values())
        _refuse_broken(objects, source)
        sizes = [{"id": image.id, "height": image.height, "width": image.width} for image in images.values()]
        # pycocotools takes an object with id 0 for none
        annotations = [{**one.entry, "id": number} for number, one in enumerate(objects, start=1)]
        kinds = tuple(categories.values())
        return cls(kinds, indexed(sizes, kinds, annotations), source)

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The dataset's own ids of the classes, in the order of the labels."""
        return tuple(category.id for category in self.categories)

    @property
    def sorted_categories(self) -> tuple[Category, ...]:
        """By id: the class axis of the metrics."""
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


@dataclass(frozen=True, slots=True)
class _Object:
    """An annotation: its id in the file, and what pycocotools wants of it."""

    id: int
    entry: dict[str, Any]


def _object(entry: Any, *, images: Mapping[int, VideoEntry], categories: Mapping[int, Category]) -> _Object:
    if isinstance(entry, Mapping) and "image_id" not in entry:
        raise EntryError(TRACK_KEY_MISSING, " of an instances file needs image_id, category_id and segmentation")
    track = read_track(entry)
    if track.video_id not in images:
        raise EntryError("an unknown image", f": image_id {track.video_id} is not in the images")
    if track.category_id not in categories:
        raise EntryError("an unknown category", f": category_id {track.category_id} is not in the categories")
    image = images[track.video_id]
    if len(track.segmentations) != 1:
        raise EntryError(WRONG_LENGTH, f": 'segmentations' has {len(track.segmentations)} entries, an image has one")
    rle = read_rle(track.segmentations[0], (image.height, image.width), of=f"image {image.id}", where=".segmentation")
    area = track.areas[0] if track.areas else None
    return _Object(
        track.id,
        {
            "image_id": track.video_id,
            "category_id": track.category_id,
            "segmentation": rle or {"size": [image.height, image.width], "counts": _nothing(image)},
            "bbox": entry.get("bbox"),
            "area": area,
            "iscrowd": int(track.crowd),
        },
    )


def _nothing(image: VideoEntry) -> str:
    size = [image.height, image.width]
    counts: bytes = coco_mask.frPyObjects({"size": size, "counts": [image.height * image.width]}, *size)["counts"]
    return counts.decode("ascii")


def _refuse_broken(objects: list[_Object], source: str) -> None:
    """Measures what the file does not say; raises DataError for the first mask whose runs do not fill its image."""
    entries = [one.entry for one in objects]
    masks = [entry["segmentation"] for entry in entries]
    try:
        areas = pack_checked([[mask] for mask in masks], [tuple(mask["size"]) for mask in masks])[1].per_frame
    except BrokenTrackError as error:
        place = f"annotations[{error.track}].segmentation"
        raise DataError(f"{source}: {place}: counts are not the run lengths of a mask of the image's size") from error
    for entry, area in zip(entries, areas.tolist(), strict=True):
        entry["area"] = float(area) if entry["area"] is None else entry["area"]
        entry["bbox"] = entry["bbox"] or coco_mask.toBbox(entry["segmentation"]).tolist()
