"""ResNet with modulated deformable convolutions (DCNv2) at an interval, from torchvision's blocks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from stmask import hub
from stmask.errors import CheckpointError
from stmask.models.layers.conv import GroupNorm, grouped_norm
from stmask.models.layers.deform import ModulatedDeformConv
from stmask.number_checks import require_integer
from stmask.ops.conv import conv2d
from stmask.weights import as_in, is_counter, read_file, tensors_of


class _Basic(BasicBlock):  # type: ignore[misc]  # torchvision has no types
    def forward(self, x: Tensor) -> Tensor:
        y = _convolved(x, self.conv1, self.bn1, relu=True)
        return _convolved(y, self.conv2, self.bn2, add=_shortcut(x, self.downsample), relu=True)


class _Bottleneck(Bottleneck):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        y = _convolved(x, self.conv1, self.bn1, relu=True)
        y = _convolved(y, self.conv2, self.bn2, relu=True)
        return _convolved(y, self.conv3, self.bn3, add=_shortcut(x, self.downsample), relu=True)


def _shortcut(x: Tensor, downsample: nn.Sequential | None) -> Tensor:
    return x if downsample is None else _convolved(x, downsample[0], downsample[1])


class _TrainedScales(nn.BatchNorm2d):
    """A batch norm that keeps its statistics, and whose scale and shift are trained."""


def _convolved(x: Tensor, conv: nn.Module, norm: nn.Module, *, add: Tensor | None = None, relu: bool = False) -> Tensor:
    """Convolved and normalised, plus `add`, and a ReLU of that.

    A batch norm that keeps its statistics is a part of the weight, and costs nothing. What follows is computed with
    the convolution or the norm where they can do it.
    """
    part = isinstance(norm, nn.BatchNorm2d) and not isinstance(norm, _TrainedScales) and not norm.training
    grouped = isinstance(conv, nn.Conv2d) and conv.groups > 1
    kept = cast(nn.BatchNorm2d, norm) if part and not grouped else None
    bare = kept is not None or isinstance(norm, nn.Identity)
    fused = bare and relu and add is None
    y: Tensor
    if isinstance(conv, (nn.Conv2d, ModulatedDeformConv)) and not grouped:
        weight, bias = (conv.weight, conv.bias) if kept is None else folded(conv.weight, conv.bias, kept)
        if isinstance(conv, nn.Conv2d):
            stride, (down, right) = (conv.stride[0], conv.stride[1]), map(int, conv.padding)
            y = conv2d(x, weight, bias, stride=stride, padding=(down, right), relu=fused)
        else:
            y = conv.with_weight(x, weight, bias, relu=fused)
    else:
        y, fused = conv(x), False
    if isinstance(norm, GroupNorm):
        return norm(y, add=add, relu=relu)  # type: ignore[no-any-return]
    y = y if bare else norm(y)
    y = y if add is None else y + add
    return F.relu(y, inplace=True) if relu and not fused else y


def folded(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight (O, C, kh, kw) and bias (O,) of a convolution with its batch norm."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    return weight * scale[:, None, None, None], shift if bias is None else shift + bias * scale


_LAYOUTS: dict[int, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    18: (_Basic, [2, 2, 2, 2]),
    34: (_Basic, [3, 4, 6, 3]),
    50: (_Bottleneck, [3, 4, 6, 3]),
    101: (_Bottleneck, [3, 4, 23, 3]),
}
_FULL_WIDTH = 64


def _group_norm(channels: int) -> GroupNorm:
    return grouped_norm(channels, groups=16, least=4)


_NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "group": _group_norm}
_STAGES = {"C2": "layer1", "C3": "layer2", "C4": "layer3", "C5": "layer4"}
_DEFORMABLE_STAGES = ("C3", "C4", "C5")
_INSIDE = "backbone."
_IMAGENET = "imagenet"
_YOLACT_STAGE = re.compile(r"layers\.(\d+)\.")


class Backbone(Protocol):
    """A module from frames (B, 3, H, W) to {"C3": .., "C4": .., "C5": ..} at strides 8, 16, 32.

    Some networks need "C2" too, at stride 4.
    """

    out_channels: dict[str, int]

    def __call__(self, frames: Tensor) -> dict[str, Tensor]: ...


class ResNet(nn.Module):
    """ResNet-18, -34, -50 or -101 that gives the maps C2 .. C5 (strides 4 .. 32).

    Args:
        depth: 18, 34, 50 or 101.
        dcn_interval: the 3x3 convolution of every n-th block of stages C3 to C5 becomes deformable (blocks 0, n, 2n ..
            of each stage; the second 3x3 of a basic block). 0 for none. The paper's R101 has 3, the released R50 has 2.
        width: channels of the first stage (later ones in proportion); ImageNet weights are for 64.
        groups, group_width: of the 3x3 convolutions of bottlenecks; 64 groups with a width of 4 are ResNeXt's 64x4d.
        stride_in_1x1: bottlenecks that halve a map do so in their first 1x1 convolution, as Caffe's networks do, not in
            the 3x3 one, as torchvision's.
        norm: "batch", or "group", which learns faster from random weights when batches are small.
        frozen_norm: batch norms keep their statistics and are not trained.
        train_scales: with frozen_norm, batch norms keep their statistics alone: scales and shifts are trained.
        frozen_stages: so many are not trained, from the beginning: 1 is the stem with C2, 2 is C3 too; 0 trains all.
        weights: "imagenet" for torchvision's ImageNet weights (IMAGENET1K_V1), which are fetched once; another name
            of `stmask weights list`; a file with such a state dict, or YOLACT's, in any wrapper; or None to start from
            random weights.

    Parameter names are torchvision's, so that its files load as they are.

    Raises:
        ValueError: a number out of its range.
        CheckpointError: the file of weights is not a weights file, or is another network's; the first differences are
            named.
        DownloadError: weights that could not be fetched.
    """

    def __init__(
        self,
        *,
        depth: int = 50,
        dcn_interval: int = 0,
        width: int = 64,
        groups: int = 1,
        group_width: int = 64,
        stride_in_1x1: bool = False,
        norm: str = "batch",
        frozen_norm: bool = False,
        train_scales: bool = False,
        frozen_stages: int = 0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if depth not in _LAYOUTS:
            raise ValueError(f"ResNet depth must be one of {', '.join(map(str, _LAYOUTS))}, got {depth}")
        require_integer(0, dcn_interval=dcn_interval)
        require_integer(width=width, groups=groups, group_width=group_width)
        require_integer(0, frozen_stages=frozen_stages)
        if norm not in _NORMS:
            raise ValueError(f"norm must be one of {', '.join(_NORMS)}, got {norm!r}")
        if frozen_norm and norm != "batch":
            raise ValueError("frozen_norm keeps statistics, which only batch norms have")
        if frozen_stages > len(_STAGES):
            raise ValueError(f"frozen_stages must be at most {len(_STAGES)}, got {frozen_stages}")
        if (groups, group_width) != (1, _FULL_WIDTH) and (_LAYOUTS[depth][0] is _Basic or dcn_interval):
            raise ValueError("groups are for plain convolutions of bottlenecks: depth 50 or 101, without dcn_interval")
        make_norm = _TrainedScales if frozen_norm and train_scales else _NORMS[norm]
        base = _Scaled(depth, width=width, norm=make_norm, groups=groups, width_per_group=group_width)
        self.conv1, self.bn1, self.relu, self.maxpool = base.conv1, base.bn1, base.relu, base.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = base.layer1, base.layer2, base.layer3, base.layer4
        self.out_channels = {name: _stage_channels(getattr(self, stage)) for name, stage in _STAGES.items()}
        self.stride_in_1x1 = stride_in_1x1 and _LAYOUTS[depth][0] is _Bottleneck
        if self.stride_in_1x1:
            for stage in _STAGES.values():
                first = getattr(self, stage)[0]
                first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride
        if dcn_interval:
            for name in _DEFORMABLE_STAGES:
                _make_deformable(getattr(self, _STAGES[name]), dcn_interval)
        self.frozen_norm = frozen_norm
        if frozen_norm and not train_scales:
            for layer in self._norms():
                layer.requires_grad_(False)
        for stage in list(_STAGES.values())[:frozen_stages]:
            for part in (self.conv1, self.bn1, getattr(self, stage)):
                part.requires_grad_(False)
        if weights is not None:
            if weights == _IMAGENET and (width, norm) != (_FULL_WIDTH, "batch"):
                raise ValueError(f"weights={_IMAGENET} are of width={_FULL_WIDTH}, norm=batch: got {width}, {norm}")
            if weights == _IMAGENET and self.stride_in_1x1:
                raise ValueError(f"weights={_IMAGENET} are of stride_in_1x1=false")
            self._load(hub.local(f"resnet{depth}_imagenet" if weights == _IMAGENET else weights, to_serve="backbone"))

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Frames (B, 3, H, W) give {"C2": (B, C, H/4, W/4), "C3": .., "C4": .., "C5": ..}."""
        x = self.maxpool(_convolved(frames, self.conv1, self.bn1, relu=True))
        maps = {}
        for name, stage in _STAGES.items():
            x = maps[name] = getattr(self, stage)(x)
        return maps

    def train(self, mode: bool = True) -> ResNet:
        """Sets training or evaluation mode; frozen batch norms stay in evaluation mode."""
        super().train(mode)
        if self.frozen_norm:
            for norm in self._norms():
                norm.eval()
        return self

    def _norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]

    def _load(self, path: Path) -> None:
        source = str(path)
        tensors = tensors_of(read_file(path), source=source)
        if inner := {name: value for name, value in tensors.items() if name.startswith(_INSIDE)}:  # a whole network's
            tensors = {name.removeprefix(_INSIDE): value for name, value in inner.items()}
        state = {}
        for name, value in tensors.items():
            match = _YOLACT_STAGE.match(name)  # "layers.0." is layer1
            plain = name if match is None else f"layer{int(match[1]) + 1}.{name[match.end() :]}"
            if not plain.startswith("fc."):
                state[plain] = value
        own = self.state_dict()
        new = {name for name in own if is_deformable(name)}
        differing = sorted(name for name in (own.keys() - new) ^ state.keys() if not is_counter(name)) + sorted(
            f"{name} is {tuple(state[name].shape)}, here {tuple(own[name].shape)}"
            for name in own.keys() & state.keys()
            if own[name].shape != state[name].shape
        )
        if differing:
            raise CheckpointError(f"{path} does not fit this ResNet; first differences: {', '.join(differing[:3])}")
        taken = {name: value for name, value in state.items() if name in own}
        self.load_state_dict({**own, **as_in(own, taken, source=source)})


def is_deformable(name: str) -> bool:
    """Whether a tensor belongs to what a deformable convolution has besides a plain one, and plain weights lack."""
    return ".conv2.offset_mask." in name or name.endswith(".conv2.bias")


class _Scaled(TorchvisionResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ResNet with stages of another width; the stem stays as it is."""

    def __init__(self, depth: int, *, width: int, norm: Callable[[int], nn.Module], **groups: int) -> None:
        self._stage_width = width
        super().__init__(*_LAYOUTS[depth], norm_layer=norm, **groups)

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        stage: nn.Sequential = super()._make_layer(block, planes * self._stage_width // _FULL_WIDTH, *args, **kwargs)
        return stage


def _stage_channels(stage: nn.Sequential) -> int:
    last = stage[-1]
    conv = last.conv3 if hasattr(last, "conv3") else last.conv2
    assert isinstance(conv, nn.Conv2d)
    return conv.out_channels


def _make_deformable(stage: nn.Sequential, interval: int) -> None:
    for index in range(0, len(stage), interval):
        block = stage[index]
        plain = block.conv2
        assert isinstance(plain, nn.Conv2d)
        block.conv2 = ModulatedDeformConv(plain.in_channels, plain.out_channels, stride=plain.stride[0])
