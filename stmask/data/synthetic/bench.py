"""The benchmark `bench`: videos that are the same for everybody, by a version that its files state.

It has a training and a validation split, and sets of the first validation videos with more of one factor: the same
scenes, rendered from the same random numbers, so that results are compared video by video.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stmask.data.jsonstream import stream_object
from stmask.data.synthetic.config import SyntheticConfig
from stmask.data.synthetic.dataset import Split, write_splits
from stmask.data.synthetic.factors import FACTORS, STEPS, Shot, raise_factor
from stmask.data.synthetic.measures import measure
from stmask.data.synthetic.render import SyntheticVideo, generator, render
from stmask.data.synthetic.scene import make_scene
from stmask.errors import DataError

NAME = "bench"
VERSION = 1  # raised whenever a video changes, so that results of different videos are never compared
TRAIN_VIDEOS, VALID_VIDEOS, FACTOR_VIDEOS = 400, 100, 40
_SEED = 0
_ADDED = 1  # in the seed of what a factor adds to a scene


def set_name(factor: str, step: int) -> str:
    """The name of the split with a factor at a step: "valid_blur_2"."""
    return f"valid_{factor}_{step}"


FACTOR_SETS: dict[str, tuple[str, int]] = {set_name(name, step): (name, step) for name in FACTORS for step in STEPS}
"""Factor and step of each set, by the name of its split."""


def bench_shot(index: int, factor: str | None = None, step: int = 0) -> tuple[Shot, np.random.Generator]:
    """The scene of validation video `index` with a factor at a step, and the generator to render it with."""
    config = SyntheticConfig.preset(NAME)
    rng = generator(_SEED, "valid", index)
    shot = Shot(make_scene(rng, config), config)
    if factor is not None:
        shot = raise_factor(shot, factor, step, generator(_SEED, "valid", index, _ADDED))
    return shot, rng


def write_bench(
    out: str | os.PathLike[str],
    *,
    videos: int = TRAIN_VIDEOS,
    valid_videos: int = VALID_VIDEOS,
    factor_videos: int = FACTOR_VIDEOS,
    overwrite: bool = False,
    on_video: Callable[[], None] = lambda: None,
) -> Path:
    """Writes the benchmark, all of it or nothing; see `write_splits`.

    Fewer videos than the benchmark has are for tests only: what they are measured on is another set.

    Raises:
        OutputError: as `write_splits`.
    """
    config = SyntheticConfig.preset(NAME)
    splits = [
        Split("train", videos, partial(_train_video, config), _info(None, 0)),
        Split("valid", valid_videos, partial(_valid_video, factor=None, step=0), _info(None, 0)),
        *(
            Split(name, factor_videos, partial(_valid_video, factor=factor, step=step), _info(factor, step))
            for name, (factor, step) in FACTOR_SETS.items()
        ),
    ]
    return write_splits(out, config, splits, seed=_SEED, overwrite=overwrite, on_video=on_video)


def number_of_videos() -> int:
    """In all sets of the benchmark together."""
    return TRAIN_VIDEOS + VALID_VIDEOS + FACTOR_VIDEOS * len(FACTOR_SETS)


@dataclass(frozen=True, slots=True)
class Stated:
    """What an annotation file of the benchmark states."""

    version: int
    factor: str | None
    step: int


def stated(annotations: str | os.PathLike[str]) -> Stated | None:
    """What an annotation file of the benchmark states; None for any other file.

    Raises:
        DataError: it can't be read, or does not state its version.
    """
    # 'info' stands first in files that are written here, and no more than that is read
    name, _, info = next(
        stream_object(annotations, ("videos", "annotations", "categories", "images")), ("", None, None)
    )
    if name != "info" or not isinstance(info, dict) or info.get("benchmark") != NAME:
        return None
    version = info.get("version")
    if type(version) is not int:
        raise DataError(f"{Path(annotations)}: 'info' has no version of the benchmark {NAME}, but {version!r}")
    return Stated(version, info.get("factor"), info.get("step", 0))


def require_bench(root: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names of the splits to evaluate with: `valid`, and each set of a factor at a step.

    Raises:
        DataError: the benchmark in `root` lacks one, or is of another version than this code makes.
    """
    names = ("valid", *FACTOR_SETS)
    files = {name: Path(root) / f"{name}.json" for name in names}
    make = f"make it by `stmask data synthesize FOLDER --preset {NAME}`"
    if lacking := [file.name for file in files.values() if not file.is_file()]:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise DataError(f"{root} does not hold the benchmark {NAME}: it lacks {lacking[0]}{more}; {make}")
    for name, file in files.items():
        found = stated(file)
        factor, step = FACTOR_SETS.get(name, (None, 0))
        if found is None or (found.factor, found.step) != (factor, step):
            raise DataError(f"{file} does not state that it is {name} of the benchmark {NAME}; {make}")
        if found.version != VERSION:
            raise DataError(
                f"{file} is of version {found.version} of the benchmark {NAME}, and this stmask has version {VERSION}: "
                f"results are not comparable; {make}"
            )
    return names


def _info(factor: str | None, step: int) -> dict[str, Any]:
    return {"benchmark": NAME, "version": VERSION, "factor": factor, "step": step}


def _train_video(config: SyntheticConfig, index: int) -> tuple[SyntheticVideo, Mapping[str, Any]]:
    rng = generator(_SEED, "train", index)
    return render(make_scene(rng, config), config, rng), {}


def _valid_video(index: int, *, factor: str | None, step: int) -> tuple[SyntheticVideo, Mapping[str, Any]]:
    shot, rng = bench_shot(index, factor, step)
    video = render(shot.scene, shot.config, rng)
    return video, {"measures": {name: round(value, 4) for name, value in asdict(measure(shot, video)).items()}}
