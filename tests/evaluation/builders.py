"""Small ground truths and results made of boolean masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from stmask.structures import RLE


def rle(mask: np.ndarray) -> RLE:
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def box(height: int, width: int, x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def segmentations(masks: Sequence[np.ndarray | None]) -> list[RLE | None]:
    return [None if mask is None else rle(mask) for mask in masks]


def truth_entry(
    identity: int, video_id: int, category_id: int, masks: Sequence[np.ndarray | None], crowd: int = 0
) -> dict[str, Any]:
    return {
        "id": identity,
        "video_id": video_id,
        "category_id": category_id,
        "iscrowd": crowd,
        "segmentations": segmentations(masks),
        "areas": [None if mask is None else int(mask.sum()) for mask in masks],
    }


def result_entry(video_id: int, category_id: int, score: float, masks: Sequence[np.ndarray | None]) -> dict[str, Any]:
    return {
        "video_id": video_id,
        "category_id": category_id,
        "score": score,
        "segmentations": segmentations(masks),
    }


def ground_truth(
    videos: Sequence[tuple[int, int, int]],
    annotations: list[dict[str, Any]] | None,
    *,
    category_ids: Sequence[int] = (1, 2),
) -> dict[str, Any]:
    """The content of a file; `videos` holds (height, width, length) of the videos 1, 2, ..."""
    sizes = enumerate(videos, start=1)
    return {
        "videos": [{"id": i, "height": h, "width": w, "length": t} for i, (h, w, t) in sizes],
        "categories": [{"id": i, "name": f"class {i}"} for i in category_ids],
        "annotations": annotations,
    }
