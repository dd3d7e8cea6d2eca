"""Small datasets on disk whose contents a test can state: coloured rectangles that move to the right."""

import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 48, 64


def rectangle(x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


def compressed(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat, prepend=0, append=2))
    return {"size": list(mask.shape), "counts": np.diff(changes, prepend=0).tolist()}


def annotation(number: int, video: int, category: int, segmentations: list, **more: object) -> dict:
    ids = {"id": number, "video_id": video, "category_id": category}
    return ids | {"iscrowd": 0, "segmentations": segmentations} | more


def contents(videos: int = 3, frames: int = 6) -> dict:
    """Each video has an object of category 7 in all frames and one of category 3 that is missing in frame 0."""
    document: dict = {
        "categories": [{"id": 7, "name": "square"}, {"id": 3, "name": "bar"}],
        "videos": [],
        "annotations": [],
    }
    for v in range(1, videos + 1):
        names = [f"v{v}/{t:05d}.jpg" for t in range(frames)]
        document["videos"].append({"id": v, "width": WIDTH, "height": HEIGHT, "length": frames, "file_names": names})
        squares = [compressed(rectangle(4 + 5 * t, 8, 12, 12)) for t in range(frames)]
        bars = [None] + [uncompressed(rectangle(20, 30, 30, 6)) for _ in range(frames - 1)]
        document["annotations"].append(annotation(10 * v, v, 7, squares))
        document["annotations"].append(annotation(10 * v + 1, v, 3, bars))
    return document


def write_frames(folder: Path, document: dict) -> None:
    for video in document["videos"]:
        for t, name in enumerate(video["file_names"]):
            image = np.full((video["height"], video["width"], 3), (40, 90, 20 * t), np.uint8)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name), image)


def write_dataset(root: Path, document: dict | None = None, split: str = "train") -> Path:
    """Writes `document` in the first of the known layouts; returns the annotation file."""
    document = contents() if document is None else document
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{split}.json"
    path.write_text(json.dumps(document))
    write_frames(root / split / "JPEGImages", document)
    return path
