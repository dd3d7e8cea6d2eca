"""A network for inference in half precision on a GPU: what follows a convolution is computed with it."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from stmask.models.layers.conv import conv_relu
from stmask.models.layers.folding import prepare_for_inference
from stmask.models.layers.resnet import ResNet

Network = TypeVar("Network", bound=nn.Module)


class ConvReLU(nn.Module):
    """A convolution and a ReLU."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return conv_relu(self.conv, x)


class FoldedBlock(nn.Module):
    """A residual block of torchvision's without its batch norms.

    Args:
        convs: its convolutions in order, a ReLU after each; the last one's after the sum.
        shortcut: the convolution beside them, or None.
    """

    def __init__(self, convs: list[nn.Module], shortcut: nn.Conv2d | None) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.shortcut is None else self.shortcut(x)
        *others, last = self.convs
        for conv in others:
            x = conv_relu(conv, x)
        return conv_relu(last, x, add=beside)


def ready(network: Network, dtype: torch.dtype) -> Network:
    """A copy of a network for inference alone, with the same outputs up to rounding; its weights are those of now.

    Args:
        network: in evaluation mode.
        dtype: of its weights.
    """
    network = copy.deepcopy(network).requires_grad_(False)
    prepare_for_inference(network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, (BasicBlock, Bottleneck)) and isinstance(child.bn1, nn.Identity):
                setattr(module, name, _folded_block(child))
        if isinstance(module, ResNet) and isinstance(module.bn1, nn.Identity):
            module.conv1, module.relu = ConvReLU(module.conv1), nn.Identity()
    return network.to(dtype)


def _folded_block(block: BasicBlock | Bottleneck) -> FoldedBlock:
    names = ("conv1", "conv2", "conv3") if isinstance(block, Bottleneck) else ("conv1", "conv2")
    shortcut = None if block.downsample is None else block.downsample[0]
    return FoldedBlock([getattr(block, name) for name in names], shortcut)
