"""How a network begins."""

from __future__ import annotations

from torch import nn


def initialise_beside_backbone(model: nn.Module) -> None:
    """Xavier weights and zero biases everywhere but in `model.backbone`, as YOLACT does."""
    for name, parameter in model.named_parameters():
        if name.startswith("backbone."):
            continue
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
