"""Checkpoints: plain tensors, dicts, strings and numbers; written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from stmask.errors import CheckpointError, ConfigError
from stmask.files import atomic_open
from stmask.inference.card import ModelCard
from stmask.models import STMask
from stmask.weights import as_in, named_tensors

FORMAT = 1
ENTRY = "stmask"  # of the checkpoint's dict: format and card
_PREFIX = "model."  # of the network's tensors inside the Lightning module
_TRUSTED = ("stmask.models.", "stmask.official.")  # a checkpoint names the classes to build; only ours are built
_SHOWN = 3


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs and renames: a kill at any moment leaves the last good file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_file(os.fspath(path), checkpoint)


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
    """The network of a `model` configuration.

    Raises:
        ConfigError: a value that its constructor refuses (through `stmask.config.explain`), or values for a part that
            the network was told to do without.
    """
    from hydra.utils import instantiate

    for name, part in config.items():
        if isinstance(part, Mapping) and "_target_" not in part:
            keys = ", ".join(map(str, part))
            raise ConfigError(f"model.{name} is none, yet {keys} of it are set: leave them out, or model.{name}=null")
    model = instantiate(dict(config), num_classes=num_classes, _convert_="all")
    if not isinstance(model, STMask):
        raise CheckpointError(f"the model configuration builds a {type(model).__name__}, not an STMask")
    return model


def is_ours(content: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's dict was written by stmask (a Lightning checkpoint of a training, or `save_model`)."""
    return isinstance(content.get(ENTRY), dict) and isinstance(content.get("state_dict"), dict)


def card_of(content: Mapping[str, Any], *, source: str) -> ModelCard:
    """The card in a checkpoint's dict.

    Raises:
        CheckpointError: not a checkpoint of stmask, of a newer version, or with a broken card.
    """
    if not is_ours(content):
        keys = ", ".join(map(str, list(content)[:_SHOWN]))
        raise CheckpointError(f"{source} is not a checkpoint of stmask (it holds {keys or 'nothing'}, ..)")
    entry = content[ENTRY]
    if entry.get("format") != FORMAT:
        raise CheckpointError(
            f"{source} has checkpoint format {entry.get('format')!r}, this version reads {FORMAT}: use a newer stmask"
        )
    try:
        card = ModelCard.from_dict(entry["card"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source} has a broken description of its network ({error})") from error
    _refuse_foreign_classes(card.model, source)
    return card


def entry_of(card: ModelCard) -> dict[str, Any]:
    """What a checkpoint keeps under `ENTRY`."""
    return {"format": FORMAT, "card": card.to_dict()}


def load_model(content: Mapping[str, Any], *, source: str) -> STMask:
    """The network of a checkpoint's dict, with its weights and its card, in evaluation mode."""
    card = card_of(content, source=source)
    config = _without_files(card.model)
    num_classes = config.pop("num_classes")
    model = build_model(config, num_classes=num_classes)
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


def _refuse_foreign_classes(value: Any, source: str) -> None:
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if target is not None and not str(target).startswith(_TRUSTED):
            raise CheckpointError(f"{source} wants {target} to be called; only classes of stmask are built")
        for child in value.values():
            _refuse_foreign_classes(child, source)
    elif isinstance(value, (list, tuple)):
        for child in value:
            _refuse_foreign_classes(child, source)


def _without_files(config: Mapping[str, Any]) -> dict[str, Any]:
    """The weights file that a training started from is not needed, and may be gone."""
    plain = dict(config)
    if isinstance(plain.get("backbone"), Mapping):
        plain["backbone"] = {**plain["backbone"], "weights": None}
    return plain
