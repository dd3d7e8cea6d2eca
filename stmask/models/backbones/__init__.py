"""Backbones: frames to the maps C3, C4, C5. Each has `out_channels: dict[str, int]`."""

from stmask.models.backbones.resnet import ResNet

__all__ = ["ResNet"]
