"""What a checkpoint says about its weights, beyond the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from stmask.ops.frames import FramePreprocessor


@dataclass(frozen=True, slots=True)
class ModelCard:
    """How to use a network as it was trained.

    Attributes:
        model: the plain `model` configuration that builds the network, num_classes included.
        class_names: of the labels 1..K.
        preprocessor: frames to network input.
        inference: plain inference settings, see conf/inference/default.yaml.
        data: plain `data` configuration of the training; empty for weights from elsewhere.
        origin: where the weights come from, in words.
    """

    model: Mapping[str, Any]
    class_names: tuple[str, ...]
    preprocessor: FramePreprocessor = field(default_factory=FramePreprocessor)
    inference: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, as a checkpoint holds them."""
        frames = asdict(self.preprocessor)
        return {
            "model": dict(self.model),
            "class_names": list(self.class_names),
            "preprocessor": {
                **frames,
                "mean": list(frames["mean"]),
                "std": list(frames["std"]),
            },
            "inference": dict(self.inference),
            "data": dict(self.data),
            "origin": self.origin,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ModelCard:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: it is no card.
        """
        frames = dict(values["preprocessor"])
        return ModelCard(
            model=dict(values["model"]),
            class_names=tuple(values["class_names"]),
            preprocessor=FramePreprocessor(**{**frames, "mean": tuple(frames["mean"]), "std": tuple(frames["std"])}),
            inference=dict(values["inference"]),
            data=dict(values["data"]),
            origin=str(values["origin"]),
        )
