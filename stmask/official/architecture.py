"""Recognises the network of a weights file, from the authors' names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stmask.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

_HEAD = "prediction_layers.0"
# blocks of the four stages, with bottlenecks or without
_DEPTHS: dict[tuple[bool, tuple[int, ...]], int] = {
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (False, (3, 4, 6, 3)): 34,
    (False, (2, 2, 2, 2)): 18,
}
_LAYERS = {"conf_layer": "class", "mask_layer": "mask", "track_layer": "track"}
_ALIGN_CLASSES = {
    "none": "stmask.models.stmask.NoCalibration",
    "ada": "stmask.models.stmask.AdaptiveCalibration",
    "ali": "stmask.models.stmask.AlignedCalibration",
}
# The level is not in the file: the authors use d = 11 on P4, and d = 13 on P3 (Table 3).
_LEVELS = {11: "P4", 13: "P3"}


@dataclass(frozen=True, slots=True)
class Architecture:
    """What names and shapes reveal.

    Attributes:
        depth: of the ResNet.
        dcn_interval: every n-th block of C3 to C5 is deformable, 0 for none.
        channels: of pyramid, prototypes' and head's layers.
        kernels: (h, w) of each output convolution.
        num_classes: K, without the background.
        num_prototypes: D.
        embedding_dim: E, 0 for an image model without the tracking branch.
        centerness: whether the head has that branch.
        align: FCB: none, ada or ali.
        branches: the branches that FCB calibrates.
        window: d of the temporal fusion, None without it.
        hidden: channels of its convolutions.
    """

    depth: int
    dcn_interval: int
    channels: int
    kernels: tuple[tuple[int, int], ...]
    num_classes: int
    num_prototypes: int
    embedding_dim: int
    centerness: bool
    align: str
    branches: tuple[str, ...]
    window: int | None
    hidden: tuple[int, ...]

    def model_config(self, *, quirks: bool) -> dict[str, Any]:
        """The plain `model` configuration that builds it, as in conf/model, num_classes included."""
        align: dict[str, Any] = {"_target_": _ALIGN_CLASSES[self.align]}
        if self.align != "none":
            align["branches"] = list(self.branches)
        head: dict[str, Any] = {
            "_target_": "stmask.models.stmask.PredictionHead",
            "_partial_": True,
            "kernels": [list(kernel) for kernel in self.kernels],
            "anchor_sizes": None,
            "scales": [1.0],
            "embedding_dim": self.embedding_dim,
            "centerness": self.centerness,
            "align": align,
        }
        if quirks and self.centerness:
            head["_target_"] = "stmask.official.quirks.KernelsFirstHead"
        temporal = None
        if self.window is not None:
            temporal = {
                "_target_": "stmask.models.stmask.TemporalFusion",
                "_partial_": True,
                "level": _LEVELS[self.window],
                "size": self.window,
                "hidden": list(self.hidden),
                "backend": "torch",
            }
        return {
            "_target_": "stmask.models.stmask.STMask",
            "num_classes": self.num_classes,
            "channels": self.channels,
            "num_prototypes": self.num_prototypes,
            "backbone": {
                "_target_": "stmask.models.layers.ResNet",
                "depth": self.depth,
                "dcn_interval": self.dcn_interval,
                "frozen_norm": True,
                "weights": None,
            },
            "head": head,
            "temporal": temporal,
        }

    def describe(self) -> list[str]:
        """What was recognised, one fact per line."""
        kernels = ", ".join(f"{h}x{w}" for h, w in self.kernels)
        fcb = "none" if self.align == "none" else f"{self.align} on {', '.join(self.branches)}"
        fusion = "none" if self.window is None else f"{self.window} x {self.window} on {_LEVELS[self.window]}"
        return [
            f"backbone: ResNet-{self.depth}"
            + (
                f", deformable at interval {self.dcn_interval}" if self.dcn_interval else ", no deformable convolutions"
            ),
            f"kernels (FCA): {kernels}",
            f"FCB: {fcb}",
            f"temporal fusion: {fusion}",
            f"classes: {self.num_classes}",
            f"centre-ness: {'yes' if self.centerness else 'no'}",
            f"embedding: {self.embedding_dim or 'none (image model)'}",
            f"prototypes: {self.num_prototypes}",
        ]


def recognise(shapes: Shapes, *, source: str) -> Architecture:
    """The architecture of a file of weights.

    Raises:
        CheckpointError: a file of another project, of YOLACT, or of a network that can't be recognised; says why.
    """
    _refuse_others(shapes, source)
    kernels = _kernels(shapes, source)
    align, branches = _calibration(shapes, source)
    window, hidden = _temporal(shapes, source)
    classes = shape_of(shapes, _output(shapes, "conf_layer"), source)[0] - 1
    embedding = _output(shapes, "track_layer")
    return Architecture(
        depth=depth(shapes, source),
        dcn_interval=dcn_interval(shapes, source),
        channels=shape_of(shapes, "fpn.lat_layers.0.weight", source)[0],
        kernels=kernels,
        num_classes=classes,
        num_prototypes=shape_of(shapes, "proto_net.10.weight", source)[0],
        embedding_dim=shapes[embedding][0] if embedding in shapes else 0,
        centerness=f"{_HEAD}.centerness_layer.0.weight" in shapes,
        align=align,
        branches=branches,
        window=window,
        hidden=hidden,
    )


def is_yolact(shapes: Shapes) -> bool:
    """Whether the names are those of YOLACT or YOLACT++: one output convolution for all anchors."""
    return f"{_HEAD}.bbox_layer.weight" in shapes


def _refuse_others(shapes: Shapes, source: str) -> None:
    for name in ("backbone.layers.0.0.conv1.weight", f"{_HEAD}.bbox_layer.0.weight", "proto_net.10.weight"):
        if name not in shapes:
            held = ", ".join(list(shapes)[:3])
            raise CheckpointError(f"{source} holds no STMask network: no tensor {name}; it has {held or 'nothing'}, ..")


def shape_of(shapes: Shapes, name: str, source: str) -> tuple[int, ...]:
    """Shape of a tensor that must be there."""
    if name not in shapes:
        raise CheckpointError(f"{source} lacks the tensor {name}")
    return shapes[name]


def resnet_depth(shapes: Shapes, *, prefix: str, source: str) -> int:
    """The depth of a ResNet of bottlenecks with torchvision's names after `prefix`: 50 or 101.

    Raises:
        CheckpointError: another backbone.
    """
    blocks = tuple(
        len({name[len(prefix) :].split(".")[1] for name in shapes if name.startswith(f"{prefix}layer{stage}.")})
        for stage in range(1, 5)
    )
    if (True, blocks) not in _DEPTHS:
        raise CheckpointError(f"{source}: the backbone has stages of {blocks} blocks, known are ResNet-50 and -101")
    return _DEPTHS[True, blocks]


def _output(shapes: Shapes, layer: str) -> str:
    """Name of the first output convolution of a branch, calibrated or not."""
    calibrated = f"{_HEAD}.{layer}.0.conv.weight"
    return calibrated if calibrated in shapes else f"{_HEAD}.{layer}.0.weight"


def _blocks(shapes: Shapes) -> tuple[int, ...]:
    found = [re.match(r"backbone\.layers\.(\d+)\.(\d+)\.", name) for name in shapes]
    last: dict[int, int] = {}
    for match in filter(None, found):
        stage, block = int(match[1]), int(match[2])
        last[stage] = max(last.get(stage, 0), block)
    return tuple(last[stage] + 1 for stage in sorted(last))


def depth(shapes: Shapes, source: str) -> int:
    """Of the ResNet, from the numbers and the kind of its blocks."""
    blocks = _blocks(shapes)
    bottleneck = "backbone.layers.0.0.conv3.weight" in shapes
    if (bottleneck, blocks) not in _DEPTHS:
        kind = "bottleneck" if bottleneck else "basic"
        raise CheckpointError(
            f"{source} has a backbone of {blocks} {kind} blocks, which is not a ResNet-18, -34, -50 or -101"
        )
    return _DEPTHS[bottleneck, blocks]


def dcn_interval(shapes: Shapes, source: str) -> int:
    """n where every n-th block of C3 to C5 is deformable, 0 for none."""
    blocks = _blocks(shapes)
    found = set()
    for name in shapes:
        if match := re.match(r"backbone\.layers\.(\d+)\.(\d+)\.conv2\.conv_offset_mask\.weight$", name):
            found.add((int(match[1]), int(match[2])))
    if not found:
        return 0
    for interval in range(1, max(blocks) + 1):
        if found == {(stage, block) for stage in (1, 2, 3) for block in range(0, blocks[stage], interval)}:
            return interval
    places = ", ".join(f"{stage}.{block}" for stage, block in sorted(found))
    raise CheckpointError(f"{source} has deformable convolutions at no regular interval: blocks {places}")


def _kernels(shapes: Shapes, source: str) -> tuple[tuple[int, int], ...]:
    kernels: list[tuple[int, int]] = []
    while (name := f"{_HEAD}.bbox_layer.{len(kernels)}.weight") in shapes:
        out, _, h, w = shapes[name]
        if out != 4:
            raise CheckpointError(
                f"{source} has {out // 4} anchor scales for each kernel; their sizes are not in the file"
            )
        kernels.append((h, w))
    return tuple(kernels)


def _calibration(shapes: Shapes, source: str) -> tuple[str, tuple[str, ...]]:
    kinds = {}
    for layer, branch in _LAYERS.items():
        if f"{_HEAD}.{layer}.0.conv_adaption.weight" in shapes:
            kinds[branch] = "ada" if f"{_HEAD}.{layer}.0.conv_offset.weight" in shapes else "ali"
    if len(set(kinds.values())) > 1:
        raise CheckpointError(f"{source} mixes kinds of FCB: {', '.join(f'{b} {k}' for b, k in kinds.items())}")
    return next(iter(kinds.values()), "none"), tuple(kinds)


def _temporal(shapes: Shapes, source: str) -> tuple[int | None, tuple[int, ...]]:
    if "TemporalNet.conv1.weight" not in shapes:
        return None, ()
    hidden = tuple(shape_of(shapes, f"TemporalNet.conv{i}.weight", source)[0] for i in (1, 2, 3))
    area = shapes["TemporalNet.conv1.weight"][1] - 2 * shape_of(shapes, "fpn.lat_layers.0.weight", source)[0]
    window = round(max(area, 0) ** 0.5)
    if window * window != area or window not in _LEVELS:
        known = ", ".join(f"{size * size} (d = {size})" for size in _LEVELS)
        raise CheckpointError(f"{source} has a temporal network over {area} correlation maps; known are {known}")
    return window, hidden
