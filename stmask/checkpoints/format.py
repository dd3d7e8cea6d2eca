"""Checkpoints: plain tensors, dicts, strings and numbers; written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stmask.checkpoints import construct, format1
from stmask.checkpoints.build import build_model, overlaid, skeleton, without_files
from stmask.checkpoints.card import ModelCard
from stmask.errors import CheckpointError, ConfigError, StmaskError
from stmask.files import atomic_open
from stmask.models import VideoModel
from stmask.signatures import shown
from stmask.weights import as_in, named_tensors

FORMAT = 2
ENTRY = "stmask"  # of the checkpoint's dict: format and card
_PREFIX = "model."  # of the network's tensors inside the Lightning module
_MODEL_VALUES = 2_000  # in the description of a network, at most
_SHOWN = 3


def write_file(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Writes a dict that `stmask.weights.read_file` reads, whole or not at all.

    Raises:
        OutputError: it cannot be written, or the disk is full.
    """
    with atomic_open(path, "wb") as handle:
        try:
            torch.save(content, handle)
        except RuntimeError as error:  # torch's error about a truncated file hides the reason
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def is_ours(content: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's dict was written by stmask (a Lightning checkpoint of a training run, or `save_model`)."""
    return isinstance(content.get(ENTRY), dict) and isinstance(content.get("state_dict"), dict)


def card_of(content: Mapping[str, Any], *, source: str) -> ModelCard:
    """The card in a checkpoint's dict, checked to describe the network whose tensors are there.

    Everything in it is data: names are looked up in `stmask.checkpoints.registry`, values are checked against their
    purpose, and nothing is allocated that the file's own tensors do not fill.

    Raises:
        CheckpointError: not a checkpoint of stmask, of a newer version, or with an invalid card.
    """
    if not is_ours(content):
        keys = ", ".join(shown(key) for key in list(content)[:_SHOWN])
        raise CheckpointError(f"{source} is not a checkpoint of stmask (it holds {keys or 'nothing'}, ..)")
    card, empty = described_model(content[ENTRY], source=source)
    check_weights(empty, network_weights(content, source=source), source=source)
    return card


def described_model(entry: Mapping[str, Any], *, source: str) -> tuple[ModelCard, VideoModel]:
    """What `entry_of` described, and the model without storage; no weights are compared.

    Raises:
        CheckpointError: of a newer version, or an invalid card.
    """
    version = entry.get("format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise CheckpointError(
            f"{source} has checkpoint format {shown(version)}, this version reads 1 to {FORMAT}: use a newer stmask"
        )
    try:
        described = entry.get("card")
        if isinstance(described, Mapping):
            construct.plain(described.get("model"), key="card.model", limit=_MODEL_VALUES)
        described = construct.plain(described, key="card")
        if version == 1 and isinstance(described, Mapping):
            described = format1.upgraded(described)
        card = ModelCard.from_dict(described)
        card = replace(card, model=without_files(card.model))
        empty = skeleton(card.model, num_classes=card.model["num_classes"])
    except StmaskError as error:
        raise CheckpointError(f"{source} has an unusable description of its network: {error}") from error
    except Exception as error:  # whatever a constructor does with nonsensical values
        raise CheckpointError(
            f"{source} has an unusable description of its network ({type(error).__name__}: {error})"
        ) from error
    return card, empty


def check_card(card: ModelCard) -> None:
    """Refuses to train a model that its checkpoints could not describe.

    Raises:
        ConfigError: something that a card can't hold.
    """
    ModelCard.from_dict(construct.plain(card.to_dict(), key="card"))


def entry_of(card: ModelCard) -> dict[str, Any]:
    """The value that a checkpoint keeps under `ENTRY`."""
    return {"format": FORMAT, "card": card.to_dict()}


def load_model(content: Mapping[str, Any], *, source: str, changes: Mapping[str, Any] | None = None) -> VideoModel:
    """The model of a checkpoint's dict, with its weights and its card, in evaluation mode.

    Args:
        changes: the user's, laid over the card's `model`; see `stmask.checkpoints.overlaid`.

    Raises:
        CheckpointError: as `card_of`.
        ConfigError: changes that can't be made.
    """
    card = card_of(content, source=source)
    return filled(card, network_weights(content, source=source), source=source, changes=changes)


def filled(
    card: ModelCard, weights: Mapping[str, Tensor], *, source: str, changes: Mapping[str, Any] | None = None
) -> VideoModel:
    """The model of a card with its weights, in evaluation mode, with the user's changes.

    Raises:
        CheckpointError: as `check_weights`.
        ConfigError: changes that can't be made.
    """
    trained, card = card, replace(card, model=overlaid(card.model, changes or {}))
    try:
        model = build_model(card.model, num_classes=card.model["num_classes"])
        load_weights(model, weights, source=source)
    except StmaskError as error:
        if card.network != trained.network:
            raise ConfigError(
                f"{source} holds a {trained.network}, and model changes it to a {card.network}: leave the network out, "
                "the checkpoint says which it is"
            ) from error
        if changes and isinstance(error, CheckpointError):
            raise ConfigError(f"these changes of model make another network than was trained ({error})") from error
        raise
    model.card = card
    return model.eval()


def network_weights(content: Mapping[str, Any], *, source: str) -> dict[str, Tensor]:
    """The network's own tensors of a checkpoint's dict.

    Raises:
        CheckpointError: as `stmask.weights.named_tensors`.
    """
    tensors = named_tensors(content["state_dict"], source=source)
    return {name[len(_PREFIX) :]: value for name, value in tensors.items() if name.startswith(_PREFIX)}


def load_weights(model: VideoModel, weights: Mapping[str, Tensor], *, source: str) -> None:
    """Fills every tensor of the network.

    Raises:
        CheckpointError: as `check_weights`.
    """
    model.load_state_dict(check_weights(model, weights, source=source))


def check_weights(model: VideoModel, weights: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """The weights in the number types of the network.

    Raises:
        CheckpointError: names or shapes differ from the network's, the first differences are named; or values that are
            not weights, see `stmask.weights.as_in`.
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


def save_model(path: str | os.PathLike[str], model: VideoModel, card: ModelCard) -> None:
    """Writes weights and card, without optimiser or trainer state, atomically."""
    state = {_PREFIX + name: value.detach().cpu() for name, value in model.state_dict().items()}
    write_file(path, {"state_dict": state, ENTRY: entry_of(card)})
