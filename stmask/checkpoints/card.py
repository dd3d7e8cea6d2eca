"""The card of a checkpoint: what it says about its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from stmask.errors import ConfigError
from stmask.ops.frames import FramePreprocessor
from stmask.signatures import TARGET, check_arguments, shown


@dataclass(frozen=True, slots=True)
class ModelCard:
    """How to use a network as it was trained.

    Attributes:
        model: the plain `model` configuration: network, detector, tracker, losses; num_classes included.
        class_names: of the labels 1..K.
        preprocessor: from frames to network input.
        data: plain `data` configuration of the training run; empty for weights from elsewhere.
        origin: where the weights come from, as text.
    """

    model: Mapping[str, Any]
    class_names: tuple[str, ...]
    preprocessor: FramePreprocessor = field(default_factory=FramePreprocessor)
    data: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""

    @property
    def network(self) -> str:
        """Name of the model's class, for messages."""
        return str(self.model.get(TARGET)).rpartition(".")[2]

    def to_dict(self) -> dict[str, Any]:
        """The card as plain dicts, lists, strings and numbers, for a checkpoint."""
        frames = asdict(self.preprocessor)
        return {
            "model": dict(self.model),
            "class_names": list(self.class_names),
            "preprocessor": {
                **frames,
                "mean": list(frames["mean"]),
                "std": list(frames["std"]),
            },
            "data": dict(self.data),
            "origin": self.origin,
        }

    @staticmethod
    def from_dict(values: Any) -> ModelCard:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: something in it is missing, unknown or invalid; the key is named.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"a card must be a mapping, got {shown(values)}")
        for name, kind in _KINDS.items():
            if name not in values:
                raise ConfigError(f"card.{name} is missing")
            if not isinstance(values[name], kind):
                raise ConfigError(f"card.{name} must be {_WORDS[kind]}, got {shown(values[name])}")
        if unknown := [name for name in values if name not in _KINDS]:
            raise ConfigError(f"unknown key card.{unknown[0]}")
        names, classes = values["class_names"], values["model"].get("num_classes")
        if not all(isinstance(name, str) and name for name in names):
            raise ConfigError(f"card.class_names must be a list of names, got {shown(names)}")
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
            raise ConfigError(f"card.model.num_classes must be an integer of at least 1, got {shown(classes)}")
        if len(names) != classes:
            raise ConfigError(f"card.class_names has {len(names)} names for {classes} classes")
        return ModelCard(
            model=dict(values["model"]),
            class_names=tuple(names),
            preprocessor=_preprocessor(values["preprocessor"]),
            data=dict(values["data"]),
            origin=values["origin"],
        )


_KINDS = {"model": Mapping, "class_names": list, "preprocessor": Mapping, "data": Mapping, "origin": str}
_WORDS = {Mapping: "a mapping", list: "a list", str: "a text"}


def _preprocessor(frames: Mapping[str, Any]) -> FramePreprocessor:
    check_arguments(FramePreprocessor, frames, key="card.preprocessor")
    try:
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in frames.items()}
        return FramePreprocessor(**values)
    except ValueError as error:
        raise ConfigError(f"card.preprocessor: {error}") from error
