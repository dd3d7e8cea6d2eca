"""An exported model from its files."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from stmask import runtimes
from stmask.checkpoints import overlaid, skeleton
from stmask.checkpoints.format import described_model
from stmask.errors import CheckpointError, ConfigError, StmaskError, one_line
from stmask.extras import missing
from stmask.models import Exportable, RunStage, VideoModel
from stmask.runtimes.files import StageFile, read_entry, stage_path

_FREE = ("detector", "tracker")  # parts of a model that are not in the stages
_OTHERS = {"files", "load"}  # modules of this package that are not runtimes
_PT2 = ".pt2"


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a file's ending is that of an exported model."""
    return Path(path).suffix.lower() in {_PT2, *_runtimes()}


def load_exported(path: str | os.PathLike[str], *, changes: Mapping[str, Any] | None = None) -> VideoModel:
    """The model in what `stmask export` wrote, in evaluation mode, with the card that it was exported with.

    Nothing in the files is run but the operators of the runtime; the card is treated as a checkpoint's is.

    Args:
        changes: of the detector and the tracker, laid over the card's `model`.

    Raises:
        CheckpointError: a file is missing, broken, not an export of stmask, or of another export.
        ConfigError: the runtime is not installed, or changes of what the files compute.
    """
    source = Path(path)
    runtime = _runtime(source)
    first = _read(runtime, source)
    entry = read_entry(first.metadata, source=source)
    card, model = described_model(entry, source=str(source))
    height, width = card.preprocessor.padded_size
    if list(first.sizes.values()) != [[None, 3, height, width]]:
        found = "; ".join(f"{name} {size}" for name, size in first.sizes.items())
        raise CheckpointError(f"{source} takes {found}, and its card says frames of (3, {height}, {width})")
    if fixed := [name for name in changes or {} if name not in _FREE]:
        raise ConfigError(
            f"model.{fixed[0]} is fixed in {source}, as all but model.{' and model.'.join(_FREE)}: change it in the "
            "checkpoint, and export that again"
        )
    if changes:
        card = replace(card, model=overlaid(card.model, changes))
        model = skeleton(card.model, num_classes=card.model["num_classes"])
    if not isinstance(model, Exportable):
        raise CheckpointError(f"{source}: a {type(model).__name__} has no stages to be run")
    found_stages: dict[str, RunStage] = {}
    names = entry.get("stages", [])
    for name in names:
        place = stage_path(source, name, first=names[0])
        found_stages[name] = first if place == source else _other(runtime, place, source, entry["export"])
    try:
        exported = model.by_stages(found_stages)
        exported.detect(torch.zeros(1, 3, height, width))  # whatever is wrong with the network shows here
    except StmaskError:
        raise
    except Exception as error:  # whatever another graph than ours gives
        raise CheckpointError(f"{source} does not compute what its card says: {one_line(error)}") from error
    exported.card = card
    return exported.eval()


def _other(runtime: ModuleType, place: Path, source: Path, export: str) -> StageFile:
    if not place.is_file():
        raise CheckpointError(
            f"{source} needs {place.name} beside it, which `stmask export` wrote too: copy it as well"
        )
    stage = _read(runtime, place)
    if read_entry(stage.metadata, source=place)["export"] != export:
        raise CheckpointError(f"{place} is of another export than {source}: export both again")
    return stage


def _read(runtime: ModuleType, source: Path) -> StageFile:
    try:
        if not source.is_file():
            raise CheckpointError(f"cannot read the checkpoint {source}: no such file")
        stage: StageFile = runtime.read(source)
        return stage
    except ImportError as error:
        if needed := missing(error):
            raise ConfigError(f"{source} {needed}") from error
        raise
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {source}: {error.strerror or error}") from error


def _runtimes() -> dict[str, str]:
    """Names of modules by the endings of their files."""
    names = (found.name for found in pkgutil.iter_modules(runtimes.__path__) if found.name not in _OTHERS)
    return {import_module(f"{runtimes.__name__}.{name}").SUFFIX: name for name in names}


def _runtime(source: Path) -> ModuleType:
    if source.suffix.lower() == _PT2:
        raise CheckpointError(
            f"{source} is a program of torch.export, and PyTorch runs code that such a file brings along: read your "
            "own by torch.export.load, and give stmask the .onnx or the checkpoint"
        )
    return import_module(f"{runtimes.__name__}.{_runtimes()[source.suffix.lower()]}")
