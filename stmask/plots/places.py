"""Locates what the notebooks look at: a dataset, a run, a folder of runs, and a network. See notebooks/README.md."""

from __future__ import annotations

import os
import zlib
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from omegaconf import OmegaConf

from stmask.checkpoints import build_model
from stmask.config import compose
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.errors import ConfigError
from stmask.loading import load
from stmask.models.stmask import PredictionHead, STMask
from stmask.runs.config import read_config
from stmask.runs.folder import BEST, LAST

DATA_VARIABLE = "STMASK_DATA_ROOT"
RUN_VARIABLE = "STMASK_RUN"
RUNS_VARIABLE = "STMASK_RUNS"

_TRAIN_VIDEOS, _VALID_VIDEOS = 8, 4
_LOOK: dict[str, Any] = {"height": 192, "width": 336, "objects": (2, 3)}


def dataset_root(run: Path | None = None) -> Path:
    """The dataset that `STMASK_DATA_ROOT` names, else that of a run, else the demo's, else a few synthetic videos.

    Raises:
        ConfigError: the variable names no folder.
    """
    return _named(DATA_VARIABLE) or _trained_on(run) or _above("demo/data") or synthetic()


def synthetic(**knobs: Any) -> Path:
    """A few easy synthetic videos, with some knobs of `SyntheticConfig` changed, for as long as the process lives."""
    changes = {**_LOOK, **knobs}
    folder = Path(_scratch().name) / f"{zlib.crc32(repr(sorted(changes.items())).encode()):08x}"
    if folder.exists():
        return folder
    config = SyntheticConfig.preset("easy", **changes)
    return write_dataset(folder, config, videos=_TRAIN_VIDEOS, valid_videos=_VALID_VIDEOS)


def run_folder() -> Path | None:
    """The run that `STMASK_RUN` names, else the demo's once it has a checkpoint; None if there is neither.

    Raises:
        ConfigError: the variable names no folder.
    """
    if (named := _named(RUN_VARIABLE)) is not None:
        return named
    demo = _above("demo/run")
    return demo if demo is not None and _checkpoint(demo) is not None else None


def runs_folder() -> Path | None:
    """The folder of runs that `STMASK_RUNS` names, else `runs`; None if there is neither.

    Raises:
        ConfigError: the variable names no folder.
    """
    return _named(RUNS_VARIABLE) or _above("runs")


def network(run: Path | None) -> STMask:
    """The best network of a run, the last before its first validation, in evaluation mode.

    Without a run, the demo's as it is before training, but with FCB(ada): its offsets can be shown beside FCB(ali)'s.

    Raises:
        CheckpointError: the run has no checkpoint that can be read.
        ConfigError: it has none yet, or trained another model than STMask.
    """
    if run is not None:
        if (checkpoint := _checkpoint(run)) is None:
            raise ConfigError(f"{run} has no checkpoint yet: wait for its first, or unset {RUN_VARIABLE}")
        model = load(checkpoint)
        if not isinstance(model, STMask):
            raise ConfigError(f"{run} trained a {type(model).__name__}, these pictures are of STMask's parts")
        return model
    torch.manual_seed(0)
    config = OmegaConf.to_container(
        compose("train", ["experiment=demo", "model/head/align=ada_class"]).model, resolve=True
    )
    model = build_model(config, num_classes=len(SyntheticConfig.preset("easy").classes))  # type: ignore[arg-type]
    assert isinstance(model, STMask)
    return model.eval()


def described(run: Path | None) -> str:
    """A line that says which network `network(run)` is."""
    if run is None:
        return (
            "no run: the network has random weights, and what it has learned is nothing (make demo, or set STMASK_RUN)"
        )
    checkpoint = _checkpoint(run)
    return f"{'no' if checkpoint is None else checkpoint.name} of the run {run.parent.name}/{run.name}"


def heads(*options: str) -> dict[str, PredictionHead]:
    """Small heads by their options of `model/head`, such as plain and fca."""
    from hydra.utils import instantiate

    configs = {option: compose("train", [f"model/head={option}"]).model.head for option in options}
    sizes = {"num_classes": 2, "channels": 8, "num_prototypes": 4}
    return {option: instantiate(config, _convert_="all")(**sizes) for option, config in configs.items()}


def _checkpoint(run: Path) -> Path | None:
    files = (run / "checkpoints" / name for name in (BEST, LAST))
    return next((file for file in files if file.is_file()), None)


def _named(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    folder = Path(value).expanduser().resolve()
    if not folder.is_dir():
        raise ConfigError(f"{variable} names {folder}, which is not a folder; unset it or name another")
    return folder


def _trained_on(run: Path | None) -> Path | None:
    """The dataset in a run's configuration, if it is still there."""
    if run is None or not (run / "config.yaml").is_file():
        return None
    data = read_config(run / "config.yaml").get("data")
    root = data.get("root") if isinstance(data, dict) else None
    return Path(root).resolve() if isinstance(root, str) and root and Path(root).is_dir() else None


def _above(name: str) -> Path | None:
    """The nearest folder of this name in the working directory or above it."""
    here = Path.cwd()
    return next((folder / name for folder in (here, *here.parents) if (folder / name).is_dir()), None)


@lru_cache(maxsize=1)
def _scratch() -> TemporaryDirectory[str]:
    """Removed when the process ends."""
    return TemporaryDirectory(prefix="stmask-")
