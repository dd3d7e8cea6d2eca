"""Makes large ground truths and results, without images, to benchmark the metric."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stmask.files import atomic_open, write_json

_JITTER = 0.15  # of a prediction's position and size, relative to the object's
_REPEATED, _WRONG_CLASS, _ABSENT, _CROWD = 0.5, 0.15, 0.1, 0.02  # shares of predictions, predictions, frames, tracks


@dataclass(frozen=True, slots=True)
class MetricCase:
    """The size of a case.

    Attributes:
        tracks: fewest and most annotated tracks of a video.
        predictions: tracks predicted in each video.
        ragged: pixels by which outlines wander from column to column, as if drawn by hand; 0 gives ellipses.
    """

    videos: int
    frames: int
    height: int
    width: int
    categories: int
    tracks: tuple[int, int]
    predictions: int
    ragged: int = 0


CASES = {
    "40-classes": MetricCase(60, 20, 360, 640, categories=40, tracks=(3, 5), predictions=40),
    "5-classes": MetricCase(60, 20, 360, 640, categories=5, tracks=(3, 5), predictions=40),
    "ragged": MetricCase(300, 30, 720, 1280, categories=40, tracks=(3, 5), predictions=100, ragged=3),
}


@dataclass(frozen=True, slots=True)
class _Path:
    """A moving ellipse: centre, radii and velocity in pixels, and the frames where it is visible."""

    centre: npt.NDArray[np.float64]
    radii: npt.NDArray[np.float64]
    velocity: npt.NDArray[np.float64]
    seen: npt.NDArray[np.bool_]


def write_case(case: MetricCase, folder: Path, *, seed: int = 0) -> tuple[Path, Path]:
    """Writes gt.json and results.json and returns their paths; the seed decides everything."""
    random = np.random.default_rng(seed)
    truth: dict[str, Any] = {
        "videos": [
            {"id": v + 1, "height": case.height, "width": case.width, "length": case.frames} for v in range(case.videos)
        ],
        "categories": [{"id": k + 1, "name": f"class {k + 1}"} for k in range(case.categories)],
        "annotations": [],
    }
    with atomic_open(folder / "results.json") as handle:
        for video in range(1, case.videos + 1):
            annotations, results = _video(random, case, video)
            for annotation in annotations:
                truth["annotations"].append({"id": len(truth["annotations"]) + 1, **annotation})
            for index, result in enumerate(results):  # written right away: the largest case doesn't fit in memory twice
                handle.write("[" if video == 1 and index == 0 else ",\n")
                json.dump(result, handle)
        handle.write("]\n")
    write_json(folder / "gt.json", truth)
    return folder / "gt.json", folder / "results.json"


def _video(
    random: np.random.Generator, case: MetricCase, video: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    annotations: list[dict[str, Any]] = []
    predicted: list[tuple[int, _Path]] = []
    for _ in range(random.integers(*case.tracks, endpoint=True)):
        category, path = _category(random, case), _object(random, case)
        masks = _masks(random, case, path)
        areas = [None if mask is None else int(coco_mask.area(mask)) for mask in masks]
        head = {"video_id": video, "category_id": category, "iscrowd": int(random.random() < _CROWD)}
        annotations.append({**head, "segmentations": masks, "areas": areas})
        for _ in range(1 + int(random.random() < _REPEATED)):
            wrong = random.random() < _WRONG_CLASS
            predicted.append((_category(random, case) if wrong else category, _nearby(random, path)))
    while len(predicted) < case.predictions:
        predicted.append((_category(random, case), _object(random, case)))
    results = [
        {"video_id": video, "category_id": k, "score": random.random(), "segmentations": _masks(random, case, path)}
        for k, path in predicted
    ]
    return annotations, results


def _category(random: np.random.Generator, case: MetricCase) -> int:
    return int(random.integers(case.categories)) + 1


def _object(random: np.random.Generator, case: MetricCase) -> _Path:
    size = np.array([case.width, case.height])
    begin, end = np.sort(random.integers(0, case.frames + 1, size=2)) if random.random() < 0.5 else (0, case.frames)
    frames = np.arange(case.frames)
    return _Path(
        centre=random.uniform(0.2, 0.8, size=2) * size,
        radii=np.exp(random.uniform(np.log(0.08), np.log(0.4))) * random.uniform(0.6, 1.2, size=2) * size,
        velocity=random.uniform(-0.02, 0.02, size=2) * size,
        seen=(frames >= min(begin, end - 1)) & (frames < end),
    )


def _nearby(random: np.random.Generator, path: _Path) -> _Path:
    shift, growth = random.normal(0, _JITTER, size=(2, 2))
    seen = path.seen & (random.random(len(path.seen)) > _ABSENT)
    return _Path(path.centre + shift * path.radii, path.radii * np.exp(growth), path.velocity, seen)


def _masks(random: np.random.Generator, case: MetricCase, path: _Path) -> list[dict[str, Any] | None]:
    masks: list[dict[str, Any] | None] = [None] * case.frames
    runs = {
        t: _runs(random, case, path.centre + t * path.velocity, path.radii) for t in np.flatnonzero(path.seen).tolist()
    }
    size = [case.height, case.width]
    drawn = {t: {"size": size, "counts": counts} for t, counts in runs.items() if len(counts) > 1}
    if drawn:
        packed = coco_mask.frPyObjects(list(drawn.values()), *size)
        for t, mask in zip(drawn, packed, strict=True):
            masks[t] = {"size": size, "counts": mask["counts"].decode("ascii")}
    return masks


def _runs(
    random: np.random.Generator, case: MetricCase, centre: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]
) -> list[int]:
    """Run lengths of an ellipse whose upper and lower outline wander."""
    columns = np.arange(max(0, int(centre[0] - radii[0])), min(case.width, int(centre[0] + radii[0])))
    half = radii[1] * np.sqrt(np.clip(1 - ((columns - centre[0]) / radii[0]) ** 2, 0, None))
    wander = random.integers(-case.ragged, case.ragged, size=(2, len(columns)), endpoint=True)
    top = np.clip(np.rint(centre[1] - half).astype(np.int64) + wander[0], 0, case.height)
    bottom = np.clip(np.rint(centre[1] + half).astype(np.int64) + wander[1], top, case.height)
    filled = bottom > top
    edges = np.stack([top, bottom], axis=1)[filled] + columns[filled, None] * case.height
    runs: list[int] = np.diff(edges.ravel(), prepend=0, append=case.height * case.width).tolist()
    return runs
