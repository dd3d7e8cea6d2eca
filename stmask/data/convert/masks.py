"""Folders of mask images (DAVIS, YouTube-VOS): masks/<video>/<frame>.png, pixel value k for object k, 0 for none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from stmask.data.convert.tracks import Document, encode, track, video
from stmask.data.segmentation import decode, pack
from stmask.errors import DataError
from stmask.files import atomic_path, read_json, write_json

_FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
_VOID = 255  # pixels that belong to no object and not to the background either
CLASS_FILE = "meta.json"


def from_masks(frames: Path, masks: Path, classes: Path | None = None) -> Document:
    """A YouTube-VIS document of the videos in `masks`, with the frames for which there is a mask image.

    Args:
        frames: frames/<video>/<frame>.jpg.
        classes: names of the objects' classes as in YouTube-VOS, {"videos": {<video>: {"objects": {"1": {"category":
            "dog"}}}}}; without it every object is an "object".

    Raises:
        DataError: a folder without videos, a frame that is missing, a mask of another size, an object without a class.
    """
    folders = sorted(path for path in masks.iterdir() if path.is_dir()) if masks.is_dir() else []
    if not folders:
        raise DataError(f"no videos in {masks}: expected {masks}/<video>/<frame>.png")
    names = _read_classes(classes) if classes is not None else None
    found = (
        sorted({name for objects in names.values() for name in objects.values()}) if names is not None else ["object"]
    )
    category = {name: number for number, name in enumerate(found, start=1)}
    videos: list[Document] = []
    annotations: list[Document] = []
    for folder in folders:
        files = sorted(folder.glob("*.png"))
        if not files:
            continue
        images = [_read_mask(file) for file in files]
        height, width = images[0].shape
        for file, image in zip(files, images, strict=True):
            if image.shape != (height, width):
                raise DataError(f"mask {file} is not {width} x {height} as the first of its video")
        number = len(videos) + 1
        file_names = [f"{folder.name}/{_frame_of(frames / folder.name, file.stem)}" for file in files]
        videos.append(video(number, file_names, height=height, width=width))
        for value in np.unique(np.concatenate([np.unique(image) for image in images])).tolist():
            if value in (0, _VOID):
                continue
            annotations.append(
                track(
                    len(annotations) + 1,
                    [encode(image == value) for image in images],
                    video=number,
                    category=category[_class_of(names, folder.name, value)],
                    height=height,
                    width=width,
                )
            )
    return {
        "categories": [{"id": number, "name": name} for name, number in category.items()],
        "videos": videos,
        "annotations": annotations,
    }


def to_masks(document: Document, folder: Path) -> None:
    """Writes folder/<video>/<frame>.png and the classes to folder/meta.json; object k is the k-th track of its video.

    Where tracks overlap, which these files cannot say, the first one has the pixel. A video is named after the
    folder of its frames.
    """
    names = {category["id"]: category["name"] for category in document["categories"]}
    tracks: dict[int, list[Document]] = {}
    for entry in document.get("annotations") or []:
        tracks.setdefault(entry["video_id"], []).append(entry)
    meta: dict[str, Any] = {}
    for entry in document["videos"]:
        name = Path(entry["file_names"][0]).parent.name or str(entry["id"])
        own = tracks.get(entry["id"], [])
        if len(own) >= _VOID:
            raise DataError(f"video {entry['id']} has {len(own)} tracks, a mask image can hold {_VOID - 1}")
        for position, file_name in enumerate(entry["file_names"]):
            canvas = np.zeros((entry["height"], entry["width"]), np.uint8)
            for value, one in reversed(list(enumerate(own, start=1))):
                encoding, data, _ = pack(one["segmentations"][position])
                canvas[decode(encoding, data, *canvas.shape) > 0] = value
            with atomic_path(folder / name / f"{Path(file_name).stem}.png") as path:
                picture = Image.fromarray(canvas)
                picture.putpalette(_palette())
                picture.save(path)
        objects = {str(value): {"category": names[one["category_id"]]} for value, one in enumerate(own, start=1)}
        meta[name] = {"objects": objects}
    write_json(folder / CLASS_FILE, {"videos": meta})


def _read_mask(file: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            if image.mode not in ("P", "L"):
                raise DataError(f"mask {file} has colours ({image.mode}), expected one number per pixel")
            return np.array(image, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"mask {file} cannot be read: {error}") from error


def _frame_of(folder: Path, stem: str) -> str:
    for suffix in _FRAME_SUFFIXES:
        if (folder / f"{stem}{suffix}").is_file():
            return f"{stem}{suffix}"
    raise DataError(f"no frame {folder / stem}.jpg for the mask of that name")


def _read_classes(path: Path) -> dict[str, dict[str, str]]:
    document = read_json(path)
    try:
        return {
            video: {number: str(entry["category"]) for number, entry in content["objects"].items()}
            for video, content in document["videos"].items()
        }
    except (AttributeError, KeyError, TypeError):
        wanted = '{"videos": {VIDEO: {"objects": {"1": {"category": NAME}}}}}'
        raise DataError(f"{path} does not name classes, expected {wanted}") from None


def _class_of(names: dict[str, dict[str, str]] | None, video: str, value: int) -> str:
    if names is None:
        return "object"
    try:
        return names[video][str(value)]
    except KeyError:
        raise DataError(f"object {value} of video {video!r} has no class in the class file") from None


def _palette() -> list[int]:
    """The usual colours of such files: the bits of the number, dealt out to red, green and blue from the top."""
    colours: list[int] = []
    for number in range(256):
        for channel in range(3):
            bits = ((number >> (3 * place + channel)) & 1 for place in range(3))
            colours.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return colours
