"""Checkpoints: plain tensors, dicts, strings and numbers; written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from stmask import construct, registry
from stmask.errors import CheckpointError, ConfigError, StmaskError
from stmask.files import atomic_open
from stmask.inference.card import ModelCard
from stmask.models import STMask
from stmask.signatures import TARGET, shown
from stmask.weights import as_in, named_tensors, read_file

FORMAT = 1
ENTRY = "stmask"  # of the checkpoint's dict: format and card
_PREFIX = "model."  # of the network's tensors inside the Lightning module
_MODEL_VALUES = 2_000  # in the description of a network, at most
_SHOWN = 3


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs and renames: a kill at any moment leaves the last good file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_file(os.fspath(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_file(path)  # on the CPU, and nothing but tensors and plain values, whatever the caller says


def write_file(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Writes a dict that `stmask.weights.read_file` reads, whole or not at all.

    Raises:
        OutputError: it cannot be written, or the disk is full.
    """
    with atomic_open(path, "wb") as handle:
        try:
            torch.save(content, handle)
        except RuntimeError as error:  # torch's, about a file that ends too early, hides why it does
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def build_model(config: Mapping[str, Any], *, num_classes: int) -> STMask:
    """The network of a `model` configuration, of registered classes (`stmask.registry`) only.

    Args:
        config: plain, as a checkpoint has it, or composed.
        num_classes: K, without the background.

    Raises:
        ConfigError: a class that is not registered, a value that a constructor refuses, or values for a part that the
            network was told to do without.
    """
    config = check_model(config, num_classes=num_classes)
    model = construct.build(config, key="model", num_classes=num_classes)
    if not isinstance(model, STMask):
        raise ConfigError(f"the model configuration builds a {type(model).__name__}, not an STMask")
    return model


def check_model(config: Mapping[str, Any], *, num_classes: int = 1) -> Mapping[str, Any]:
    """The plain configuration of a network, as far as it can be checked without building it.

    Raises:
        ConfigError: as `build_model`.
    """
    if isinstance(config, DictConfig):
        config = cast(Mapping[str, Any], OmegaConf.to_container(config, resolve=True))
    for name, part in config.items():
        if isinstance(part, Mapping) and TARGET not in part:
            keys = ", ".join(map(str, part))
            raise ConfigError(f"model.{name} is none, yet {keys} of it are set: leave them out, or model.{name}=null")
    if TARGET not in config:
        raise ConfigError(f"model has no {TARGET}, the class of the network")
    construct.check({**config, "num_classes": num_classes}, key="model")
    return config


def is_ours(content: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's dict was written by stmask (a Lightning checkpoint of a training, or `save_model`)."""
    return isinstance(content.get(ENTRY), dict) and isinstance(content.get("state_dict"), dict)


def card_of(content: Mapping[str, Any], *, source: str) -> ModelCard:
    """The card in a checkpoint's dict, and that it describes the network whose tensors are there.

    Everything in it is data: names are looked up in `stmask.registry`, values checked against what they are for, and
    nothing is allocated that the file's own tensors do not fill.

    Raises:
        CheckpointError: not a checkpoint of stmask, of a newer version, or with a card that can't be meant.
    """
    if not is_ours(content):
        keys = ", ".join(shown(key) for key in list(content)[:_SHOWN])
        raise CheckpointError(f"{source} is not a checkpoint of stmask (it holds {keys or 'nothing'}, ..)")
    entry = content[ENTRY]
    if type(entry.get("format")) is not int or entry["format"] != FORMAT:
        raise CheckpointError(
            f"{source} has checkpoint format {shown(entry.get('format'))}, this version reads {FORMAT}: use a newer "
            "stmask"
        )
    try:
        described = entry.get("card")
        if isinstance(described, Mapping):
            construct.plain(described.get("model"), key="card.model", limit=_MODEL_VALUES)
        card = ModelCard.from_dict(construct.plain(described, key="card"))
        card = replace(card, model=_without_files(card.model))
        skeleton = _skeleton(card.model)
    except StmaskError as error:
        raise CheckpointError(f"{source} has a description of its network that can't be used: {error}") from error
    except Exception as error:  # whatever a constructor does with values that can't be meant
        raise CheckpointError(
            f"{source} has a description of its network that can't be used ({type(error).__name__}: {error})"
        ) from error
    check_weights(skeleton, network_weights(content, source=source), source=source)
    return card


def check_card(card: ModelCard) -> None:
    """Refuses to train what its checkpoints could not say.

    Raises:
        ConfigError: something that a card can't hold.
    """
    ModelCard.from_dict(construct.plain(card.to_dict(), key="card"))


def entry_of(card: ModelCard) -> dict[str, Any]:
    """What a checkpoint keeps under `ENTRY`."""
    return {"format": FORMAT, "card": card.to_dict()}


def load_model(content: Mapping[str, Any], *, source: str) -> STMask:
    """The network of a checkpoint's dict, with its weights and its card, in evaluation mode.

    Raises:
        CheckpointError: as `card_of`.
    """
    card = card_of(content, source=source)
    model = _built(card.model)
    load_weights(model, network_weights(content, source=source), source=source)
    model.card = card
    return model.eval()


def network_weights(content: Mapping[str, Any], *, source: str) -> dict[str, Tensor]:
    """The network's own tensors of a checkpoint's dict.

    Raises:
        CheckpointError: as `stmask.weights.named_tensors`.
    """
    tensors = named_tensors(content["state_dict"], source=source)
    return {name[len(_PREFIX) :]: value for name, value in tensors.items() if name.startswith(_PREFIX)}


def load_weights(model: STMask, weights: Mapping[str, Tensor], *, source: str) -> None:
    """Fills every tensor of the network.

    Raises:
        CheckpointError: as `check_weights`.
    """
    model.load_state_dict(check_weights(model, weights, source=source))


def check_weights(model: STMask, weights: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """The weights in the number types of the network.

    Raises:
        CheckpointError: names or shapes differ from the network's, the first differences are named; or values that are
            no weights, see `stmask.weights.as_in`.
    """
    own = model.state_dict()
    problems = [f"missing {name}" for name in own if name not in weights]
    problems += [f"unexpected {name}" for name in weights if name not in own]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, the network's is {tuple(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(f"{source} is a checkpoint of another network: {'; '.join(problems[:_SHOWN])}{more}")
    return as_in(own, weights, source=source)


def save_model(path: str | os.PathLike[str], model: STMask, card: ModelCard) -> None:
    """Writes weights and card, without optimiser or trainer state, atomically."""
    state = {_PREFIX + name: value.detach().cpu() for name, value in model.state_dict().items()}
    write_file(path, {"state_dict": state, ENTRY: entry_of(card)})


def _built(config: Mapping[str, Any]) -> STMask:
    """The network of a card's `model`, num_classes included."""
    return build_model(
        {name: value for name, value in config.items() if name != "num_classes"}, num_classes=config["num_classes"]
    )


def _skeleton(config: Mapping[str, Any]) -> STMask:
    """A network without storage, for its names and shapes."""
    try:
        with torch.device("meta"):
            return _built(config)
    except Exception:
        if all(map(registry.is_ours, construct.names_in(config))):
            raise
        return _built(config)  # a class of the user's own, which may need storage to be built


def _without_files(value: Any) -> Any:
    """The weights file that a training started from is not needed, may be gone, and is nothing to open for a file."""
    if isinstance(value, Mapping):
        return {name: None if name == "weights" else _without_files(child) for name, child in value.items()}
    return [_without_files(child) for child in value] if isinstance(value, list) else value
