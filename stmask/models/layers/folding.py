"""A network made ready for inference: the same outputs with less work."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from stmask.models.layers.deform import ModulatedDeformConv
from stmask.models.layers.resnet import ResNet, folded
from stmask.ops import winograd

_PAIRS = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))  # "0", "1": of a shortcut


def prepare_for_inference(model: nn.Module) -> None:
    """Changes a model in place: evaluation mode, batch norms folded, weights in the memory format that is faster.

    What follows is the same but for rounding. The model can't be trained any more, and its tensors no longer have the
    names and shapes of its checkpoint. Norms outside a `ResNet` stay as they are.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, ResNet):
            _fold_norms(module)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # for modules it is there
    winograd.prepare(model)


@torch.no_grad()
def _fold_norms(resnet: ResNet) -> None:
    for parent in _parents(resnet):
        for conv_name, norm_name in _PAIRS:
            norm = getattr(parent, norm_name, None)
            if isinstance(norm, nn.BatchNorm2d):
                _fold(getattr(parent, conv_name), norm)
                setattr(parent, norm_name, nn.Identity())


def _parents(resnet: ResNet) -> Iterator[nn.Module]:
    yield resnet
    for module in resnet.modules():
        if isinstance(module, (BasicBlock, Bottleneck)):
            yield module
            if module.downsample is not None:
                yield module.downsample


def _fold(conv: nn.Conv2d | ModulatedDeformConv, norm: nn.BatchNorm2d) -> None:
    weight, bias = folded(conv.weight, conv.bias, norm)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
