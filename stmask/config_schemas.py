"""The plain keys of the commands that are Hydra applications. Groups are checked by what they build."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainSchema:
    """conf/train.yaml."""

    name: str = ""
    seed: int = 0
    deterministic: bool = False
    output_root: str = ""
    output_dir: str = ""
    resume: str | None = None
    init_from: str | None = None
    monitor: str = ""
    total_batch: int | None = None
    reference_batch: int | None = None
    checkpoint_every: int | None = None
    keep_last: bool = True
    max_skipped_in_a_row: int = 20
    retry_failed: bool = False
    tags: list[str] = field(default_factory=list)
    trust: list[str] = field(default_factory=list)
    model: Any = None
    data: Any = None
    optimizer: Any = None
    scheduler: Any = None
    ema: Any = None
    trainer: Any = None
    logger: Any = None
    callbacks: Any = None
    records: Any = None


@dataclass
class EvaluateSchema:
    """conf/evaluate.yaml."""

    checkpoint: str = ""
    split: str | None = None
    device: str = ""
    devices: int = 1
    batch: str = ""
    seed: int = 0
    output_root: str = ""
    output: str = ""
    trust: list[str] = field(default_factory=list)
    model: Any = None
    data: Any = None


@dataclass
class DrawSchema:
    """The key `draw` of conf/predict.yaml."""

    boxes: bool = True
    labels: bool = True
    opacity: float = 0.0
    zoom: int = 1


@dataclass
class PredictSchema:
    """conf/predict.yaml."""

    source: str | None = None
    start: str | None = None
    end: str | None = None
    stride: int = 1
    max_frames: int | None = None
    checkpoint: str = ""
    output: str = ""
    format: list[str] = field(default_factory=list)
    classes: list[str] | None = None
    min_score: float = 0.0
    device: str = ""
    half: bool = False
    fps: float | None = None
    trust: list[str] = field(default_factory=list)
    draw: DrawSchema = field(default_factory=DrawSchema)
    model: Any = None


SCHEMAS: dict[str, type] = {"train": TrainSchema, "evaluate": EvaluateSchema, "predict": PredictSchema}
# parts of a configuration that are empty there: what they are given is laid over the checkpoint's own
OVERLAYS: dict[str, tuple[str, ...]] = {"evaluate": ("model", "data"), "predict": ("model",)}
# what `stmask train` can do without: the others of its groups are choices that have to be made
OPTIONAL_GROUPS = frozenset({"ema", "logger", "callbacks", "records"})
LIST_GROUPS = ("logger", "callbacks")  # of which a run may have several options, each under its own name
_TEXTS_OF_GROUPS = (
    "data.train", "data.valid", "logger.wandb.name", "logger.wandb.project", "logger.wandb.entity", "logger.wandb.group"
)  # fmt: skip


def keys(config_name: str) -> list[str]:
    """The keys at the top of a configuration."""
    return list(typing.get_type_hints(SCHEMAS[config_name]))


def groups(config_name: str) -> list[str]:
    """Those of them that hold a group's option."""
    return [name for name, hint in typing.get_type_hints(SCHEMAS[config_name]).items() if hint is Any]


def text_keys(config_name: str) -> frozenset[str]:
    """The keys of a configuration whose values are texts, whatever they look like."""
    hints = typing.get_type_hints(SCHEMAS[config_name])
    return frozenset({*(name for name, hint in hints.items() if hint in (str, str | None)), *_TEXTS_OF_GROUPS})


def lists_of(config_name: str) -> frozenset[str]:
    """The keys whose values are lists, and may be given without brackets: those of commands that never sweep."""
    return frozenset({"format", "classes"}) if config_name == "predict" else frozenset()
