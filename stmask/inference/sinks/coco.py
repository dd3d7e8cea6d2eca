"""A COCO dataset of a video: the frames as images, and one annotation for each instance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask import viz
from stmask.inference.sinks.base import SegmentedFrame
from stmask.inference.sinks.lines import Lines

DATA, LABELS = "data", "labels.json"  # as FiftyOne's COCODetectionDataset has them
HEAD = '{"info": {"description": "written by stmask"'
_VIDEO_ID = 1
_CELLS = 3  # a side that a pixel is divided into, so that an outline goes along its edges and not through its centre
_SMOOTHING = 0.6  # pixels, that a polygon may be off


class Coco:
    """Writes folder/data/000000.jpg for each frame and, when it is closed, folder/labels.json.

    Segmentations are polygons, the largest first, since some readers take no run lengths; see `outlines`. Annotations
    have 'score' and 'track_id' too, images 'video_id', 'frame_index' and 'time'.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        """
        Args:
            path: of the folder.
            name: of the video.
        """
        self._folder, self._name = path, name
        (path / DATA).mkdir()
        self._images: list[dict[str, Any]] = []
        self._names: dict[int, str] = {}
        self._count = 0
        self._annotations = Lines(path / f".{LABELS}", self._text)  # in memory they would grow with the video

    def write(self, frame: SegmentedFrame) -> None:
        """Writes the image, and the annotations to a file of their own until the end."""
        file_name = f"{frame.index:06d}.jpg"
        viz.write_image(self._folder / DATA / file_name, frame.image)
        self._annotations.write(frame)
        height, width = frame.size
        self._images.append(
            {
                "id": frame.index + 1,
                "file_name": file_name,
                "height": height,
                "width": width,
                "video_id": _VIDEO_ID,
                "frame_index": frame.index,
                "time": round(float(frame.time), 6),
            }
        )
        self._names |= {
            frame.category_of(label): frame.name_of(label)
            for label in (*range(1, len(frame.class_names) + 1), *frame.tracked.instances.labels.tolist())
        }

    def _text(self, frame: SegmentedFrame) -> str:
        lines = []
        masks = zip(frame.tracked.track_ids.tolist(), frame.masks.corners, frame.masks.parts, strict=True)
        shapes = {track_id: (outlines(part, corner), int(part.sum())) for track_id, corner, part in masks}
        for instance in frame.instances:
            (x1, y1, x2, y2), (polygons, area) = instance.box_px, shapes[instance.track_id]
            self._count += 1
            annotation = {
                "id": self._count,
                "image_id": frame.index + 1,
                "category_id": instance.category_id,
                "iscrowd": 0,
                "bbox": [float(value) for value in (x1, y1, x2 - x1, y2 - y1)],
                "area": area,
                "segmentation": polygons,
                "score": round(instance.score, 6),
                "track_id": instance.track_id,
                "video_id": _VIDEO_ID,
            }
            lines.append(json.dumps(annotation) + "\n")
        return "".join(lines)

    def close(self) -> None:
        """Puts images and annotations together."""
        self._annotations.close()
        parts = self._folder / f".{LABELS}"
        with parts.open() as lines, (self._folder / LABELS).open("w", encoding="utf-8") as file:
            file.write(HEAD + '}, "videos": ')
            json.dump([{"id": _VIDEO_ID, "name": self._name}], file)
            file.write(', "categories": ')
            categories = [
                {"id": number, "name": name, "supercategory": ""} for number, name in sorted(self._names.items())
            ]
            json.dump(categories, file)
            file.write(', "images": ')
            json.dump(self._images, file)
            file.write(', "annotations": [')
            for number, line in enumerate(lines):
                file.write(",\n" * (number > 0) + line.rstrip("\n"))
            file.write("]}\n")
        parts.unlink()


def outlines(part: npt.NDArray[np.bool_], corner: Sequence[int] = (0, 0)) -> list[list[float]]:
    """The polygons [x, y, x, y, ...] around a mask, the largest first; holes are filled.

    Args:
        part: (rows, columns) of a frame.
        corner: row and column where they begin.
    """
    if not part.any():
        return []
    fine = cv2.resize(part.astype(np.uint8), None, fx=_CELLS, fy=_CELLS, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    top, left = corner
    found = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True):
        smooth = cv2.approxPolyDP(contour, _CELLS * _SMOOTHING, closed=True)
        points = smooth if len(smooth) > 2 else contour
        x_y = (points.reshape(-1, 2) + 0.5) / _CELLS + (left, top)
        found.append(np.round(x_y, 2).ravel().tolist())
    return found
