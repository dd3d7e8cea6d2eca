"""The pieces of a YouTube-VIS document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stmask.data.segmentation import measure, pack

Document = dict[str, Any]


def encode(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (height, width) as compressed run lengths."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def video(number: int, names: Sequence[str], *, height: int, width: int) -> Document:
    """An entry of 'videos'."""
    return {"id": number, "width": width, "height": height, "length": len(names), "file_names": list(names)}


def track(
    number: int, segmentations: Sequence[Any], *, video: int, category: int, height: int, width: int, crowd: int = 0
) -> Document:
    """An entry of 'annotations', its boxes and areas measured; segmentations without a pixel become null.

    Raises:
        ValueError: a segmentation that cannot be read.
    """
    shapes, boxes, areas = [], [], []
    for segmentation in segmentations:
        encoding, data, _ = pack(segmentation)
        area, box = measure(encoding, data, height, width)
        shapes.append(segmentation if area else None)
        boxes.append([float(n) for n in box] if area else None)
        areas.append(float(area) if area else None)
    return {
        "id": number,
        "video_id": video,
        "category_id": category,
        "iscrowd": crowd,
        "width": width,
        "height": height,
        "length": len(shapes),
        "segmentations": shapes,
        "bboxes": boxes,
        "areas": areas,
    }
