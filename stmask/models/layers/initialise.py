"""How a network begins."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


class StartsAtZero(nn.Module):
    """Its parameters are zero before training."""


def initialise_beside_backbone(model: nn.Module) -> None:
    """Xavier weights and zero biases everywhere but in `model.backbone`, as YOLACT does, and in `StartsAtZero`.

    A weight depends on PyTorch's seed and its own name alone, not on what else the network has: networks that are built
    with one seed begin alike wherever they have the same part.
    """
    zeros = {one for module in model.modules() if isinstance(module, StartsAtZero) for one in module.parameters()}
    for name, parameter in model.named_parameters():
        if name.startswith("backbone."):
            continue
        if parameter.ndim > 1 and parameter not in zeros:
            nn.init.xavier_uniform_(parameter, generator=_draws_of(name))
        else:
            nn.init.zeros_(parameter)


def _draws_of(name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{torch.initial_seed()} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
