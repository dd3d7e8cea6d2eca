"""Folders of pictures: mask images of whole frames, and cut-out instances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stmask.data.convert.mask_files import write_mask
from stmask.data.convert.masks import CLASS_FILE, VOID
from stmask.errors import OutputError
from stmask.inference.sinks.base import SegmentedFrame
from stmask.inference.sinks.lines import Lines, csv_text

MASKS_HEAD = '{"info": "written by stmask"'
CROPS_FILE = "crops.csv"
CROPS_HEAD = "file,frame,track_id,category_id,class,score,left,top\n"
_MOST_OBJECTS = 65534  # in 16 bits, beside the background and the value that stands for neither


class MaskImages:
    """Writes folder/<video>/00000.png, whose pixels are 0 or a track id plus one, and folder/meta.json with classes.

    As in DAVIS and YouTube-VOS: the best score gets a pixel, and 255 is no object, so numbers go on with 256. An image
    has eight bits and the usual colours, and sixteen where its numbers need them. The class of a track is its last one.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        """
        Args:
            path: of the folder.
            name: of the video, and of the folder of its masks.
        """
        self._folder, self._name = path, name
        (path / name).mkdir()
        self._classes: dict[int, str] = {}

    def write(self, frame: SegmentedFrame) -> None:
        """Writes the mask image of a frame.

        Raises:
            OutputError: more tracks than a pixel can number.
        """
        scores = frame.tracked.instances.scores.cpu().numpy()
        values = [track_id + 1 + (track_id + 1 >= VOID) for track_id in frame.tracked.track_ids.tolist()]
        highest = max(values, default=0)
        if highest > _MOST_OBJECTS:
            raise OutputError(
                f"format=masks can number {_MOST_OBJECTS} tracks, frame {frame.index} has number {highest}"
            )
        numbers: npt.NDArray[Any] = np.zeros(frame.size, dtype=np.uint8 if highest < VOID else np.uint16)
        for index in np.argsort(-scores, kind="stable")[::-1].tolist():
            (top, left), part = frame.masks.corners[index], frame.masks.parts[index]
            numbers[top : top + part.shape[0], left : left + part.shape[1]][part] = values[index]
        write_mask(self._folder / self._name / f"{frame.index:05d}.png", numbers)
        labels = frame.tracked.instances.labels.tolist()
        self._classes |= {value: frame.name_of(label) for value, label in zip(values, labels, strict=True)}

    def close(self) -> None:
        """Writes the classes."""
        objects = {str(value): {"category": name} for value, name in sorted(self._classes.items())}
        videos = json.dumps({self._name: {"objects": objects}})
        (self._folder / CLASS_FILE).write_text(f'{MASKS_HEAD}, "videos": {videos}}}\n', encoding="utf-8")


class Crops:
    """Writes folder/<track id>/00000.png, the instance cut out of the frame and transparent around it, and a table."""

    def __init__(self, path: Path) -> None:
        self._folder = path
        self._table = Lines(path / CROPS_FILE, self._rows, head=CROPS_HEAD)

    def write(self, frame: SegmentedFrame) -> None:
        """Writes the pictures of a frame's instances, and their rows."""
        masks = zip(frame.tracked.track_ids.tolist(), frame.masks.corners, frame.masks.parts, strict=True)
        for track_id, (top, left), part in masks:
            rows, columns = part.shape
            cut = frame.image[top : top + rows, left : left + columns]
            picture = np.dstack([cut[..., ::-1], np.where(part, np.uint8(255), np.uint8(0))])
            file = self._folder / _crop_name(track_id, frame.index)
            file.parent.mkdir(exist_ok=True)
            done, data = cv2.imencode(".png", picture)
            assert done
            file.write_bytes(data.tobytes())
        self._table.write(frame)

    def close(self) -> None:
        """Ends the table."""
        self._table.close()

    def _rows(self, frame: SegmentedFrame) -> str:
        return csv_text(
            (
                *(_crop_name(instance.track_id, frame.index), frame.index, instance.track_id, instance.category_id),
                *(instance.class_name, f"{instance.score:.6f}", *instance.box_px[:2]),
            )
            for instance in frame.instances
        )


def _crop_name(track_id: int, frame: int) -> str:
    return f"{track_id:04d}/{frame:06d}.png"
