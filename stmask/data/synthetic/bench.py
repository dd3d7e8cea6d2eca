"""The benchmark `bench`: videos that are the same for everybody, by a version that its files state.

It has a training and a validation split, and sets of the first validation videos with more of one factor: the same
scenes, rendered from the same random numbers, so that results are compared video by video.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stmask.data.synthetic.config import SyntheticConfig
from stmask.data.synthetic.dataset import Split, write_splits
from stmask.data.synthetic.factors import FACTORS, STEPS, Shot, raise_factor
from stmask.data.synthetic.measures import measure
from stmask.data.synthetic.render import SyntheticVideo, generator, render
from stmask.data.synthetic.scene import make_scene

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


def _info(factor: str | None, step: int) -> dict[str, Any]:
    return {"benchmark": NAME, "version": VERSION, "factor": factor, "step": step}


def _train_video(config: SyntheticConfig, index: int) -> tuple[SyntheticVideo, Mapping[str, Any]]:
    rng = generator(_SEED, "train", index)
    return render(make_scene(rng, config), config, rng), {}


def _valid_video(index: int, *, factor: str | None, step: int) -> tuple[SyntheticVideo, Mapping[str, Any]]:
    shot, rng = bench_shot(index, factor, step)
    video = render(shot.scene, shot.config, rng)
    return video, {"measures": {name: round(value, 4) for name, value in asdict(measure(shot, video)).items()}}
