"""Synthetic videos on disk, in YouTube-VIS format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stmask.data.synthetic.config import SyntheticConfig
from stmask.data.synthetic.render import SyntheticVideo, render_video
from stmask.errors import OutputError, StmaskError
from stmask.files import read_json, write_json
from stmask.folders import atomic_folder

_CONTRIBUTOR = "stmask data synthesize"  # marks the folders that may be overwritten


@dataclass(frozen=True, slots=True)
class Split:
    """A split to write.

    Attributes:
        name: of its files.
        count: of its videos.
        video: gives video i, and what its entry in the annotation file says besides.
        info: what the annotation file says besides.
    """

    name: str
    count: int
    video: Callable[[int], tuple[SyntheticVideo, Mapping[str, Any]]]
    info: Mapping[str, Any] = field(default_factory=dict)


def write_dataset(
    out: str | os.PathLike[str],
    config: SyntheticConfig,
    *,
    videos: int,
    valid_videos: int,
    seed: int = 0,
    overwrite: bool = False,
    on_video: Callable[[], None] = lambda: None,
) -> Path:
    """Writes `out`/{train,valid}.json and `out`/{train,valid}/JPEGImages/<video>/00000.jpg; all of it or nothing.

    Video i of a split depends on `config`, `seed`, the split and i only, so a larger set begins with the smaller one.

    `on_video` is called after each video, to show progress. Returns the absolute path of the folder.

    Raises:
        OutputError: `out` exists and is not empty (with `overwrite`: and is not such a dataset), or cannot be written.
    """
    for name, count in (("videos", videos), ("valid_videos", valid_videos), ("seed", seed)):
        if count < 0:
            raise ValueError(f"{name} must not be negative, got {count}")

    def rendered(split: str) -> Callable[[int], tuple[SyntheticVideo, Mapping[str, Any]]]:
        return lambda index: (render_video(config, seed=seed, split=split, index=index), {})

    splits = [Split(name, count, rendered(name)) for name, count in (("train", videos), ("valid", valid_videos))]
    return write_splits(out, config, splits, seed=seed, overwrite=overwrite, on_video=on_video)


def write_splits(
    out: str | os.PathLike[str],
    config: SyntheticConfig,
    splits: Iterable[Split],
    *,
    seed: int,
    overwrite: bool = False,
    on_video: Callable[[], None] = lambda: None,
) -> Path:
    """Writes splits as `write_dataset` does, all with the classes and the size of frames of `config`.

    Raises:
        OutputError: as `write_dataset`.
    """
    target = Path(out).resolve()
    _require_free(target, overwrite=overwrite)
    with atomic_folder(target) as folder:
        for split in splits:
            _write_split(folder, config, split, seed=seed, on_video=on_video)
    return target


def _require_free(target: Path, *, overwrite: bool) -> None:
    try:
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    if not overwrite:
        raise OutputError(f"{target} exists already; choose another folder or add --overwrite")
    if not _is_ours(target):
        raise OutputError(f"{target} was not written by `{_CONTRIBUTOR}` and stays as it is; choose another folder")


def _is_ours(folder: Path) -> bool:
    try:
        content = read_json(folder / "train.json")
    except StmaskError:
        return False
    info = content.get("info") if isinstance(content, dict) else None
    return isinstance(info, dict) and info.get("contributor") == _CONTRIBUTOR


def _write_split(
    folder: Path, config: SyntheticConfig, split: Split, *, seed: int, on_video: Callable[[], None]
) -> None:
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    images = folder / split.name / "JPEGImages"
    images.mkdir(parents=True)
    for index in range(split.count):
        video, said = split.video(index)
        name = f"{split.name}{'_' if split.name[-1].isdigit() else ''}{index:05d}"
        file_names = [f"{name}/{t:05d}.jpg" for t in range(config.frames)]
        videos.append(
            {
                "id": index + 1,
                "width": config.width,
                "height": config.height,
                "length": config.frames,
                "file_names": file_names,
                **said,
            }
        )
        for track in _annotate(video):
            annotations.append({"id": len(annotations) + 1, "video_id": index + 1, "iscrowd": 0, **track})
        (images / name).mkdir()
        for frame, file_name in zip(video.frames, file_names, strict=True):
            (images / file_name).write_bytes(_jpeg(frame, config.jpeg_quality))
        on_video()
    write_json(
        folder / f"{split.name}.json",
        {
            "info": {
                "description": "synthetic videos of moving shapes",
                "contributor": _CONTRIBUTOR,
                **split.info,
                "seed": seed,
                "config": asdict(config),
            },
            "categories": [{"id": i, "name": name} for i, name in enumerate(config.classes, start=1)],
            "videos": videos,
            "annotations": annotations,
        },
    )


def _jpeg(frame: npt.NDArray[np.uint8], quality: int) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def _annotate(video: SyntheticVideo) -> Iterator[dict[str, Any]]:
    """The fields of one annotation per object that is visible at all; null where it is absent or hidden."""
    for label, masks in zip(video.labels, video.masks, strict=True):
        encoded = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))
        present = masks.any(axis=(1, 2)).tolist()
        if not any(present):
            continue
        boxes, areas = coco_mask.toBbox(encoded).tolist(), coco_mask.area(encoded).tolist()
        yield {
            "category_id": label,
            "height": masks.shape[1],
            "width": masks.shape[2],
            "segmentations": [
                {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")} if here else None
                for rle, here in zip(encoded, present, strict=True)
            ],
            "bboxes": [box if here else None for box, here in zip(boxes, present, strict=True)],
            "areas": [area if here else None for area, here in zip(areas, present, strict=True)],
        }
