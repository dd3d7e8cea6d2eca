"""YOLACT and YOLACT++: image networks that share all but the head's last layers and the anchors with STMask."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from stmask.errors import CheckpointError
from stmask.models import PredictionHead, STMask
from stmask.models.stmask import Backbone
from stmask.official.architecture import Shapes, dcn_interval, depth, shape_of
from stmask.ops.anchors import level_anchors
from stmask.structures import Pyramid

_LAYERS = ("bbox_layer", "conf_layer", "mask_layer")
_BASE_SIDE, _BASE_SCALES = 550, (24, 48, 96, 192, 384)  # pixels; of P3 .. P7
_OTHER_SIDES = (400, 700)  # trained for another input; only the file's name ("yolact_im700_..") tells
_RATIOS = (1.0, 0.5, 2.0)


class Yolact(STMask):
    """A network whose head has one 3x3 convolution for all anchors of a branch, right after the shared tower.

    Args:
        backbone: gives C3, C4, C5.
        num_classes: K, without the background.
        anchor_scales: side of the anchors in pixels, for each level.
        anchor_shapes: (h, w) of each anchor of a cell, as factors of the scale.
        input_side: side of the input that the pixels are meant for; the anchors' share of the input is fixed by it.
        channels: channels of the pyramid, the prototypes' and the head's layers.
        num_prototypes: D.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_classes: int,
        anchor_scales: Sequence[float] = _BASE_SCALES,
        anchor_shapes: Sequence[Sequence[float]],
        input_side: int = _BASE_SIDE,
        channels: int = 256,
        num_prototypes: int = 32,
    ) -> None:
        kernels = [(3, 3)] * len(anchor_shapes)
        head = partial(PredictionHead, kernels=kernels, embedding_dim=0, centerness=False)
        super().__init__(
            backbone=backbone, num_classes=num_classes, head=head, channels=channels, num_prototypes=num_prototypes
        )
        self.head.box_tower = self.head.class_tower = self.head.mask_tower = nn.Sequential()
        self._shares = [
            [(scale * h / input_side, scale * w / input_side) for h, w in anchor_shapes] for scale in anchor_scales
        ]

    def anchors(self, pyramid: Pyramid) -> Tensor:
        """(A, 4) cxcywh in [0, 1]: sizes are shares of the input, not cells of the level as in STMask."""
        levels = []
        for name, shares in zip(pyramid, self._shares, strict=True):
            h, w = pyramid[name].shape[-2:]
            cells = [(share_h * h, share_w * w) for share_h, share_w in shares]
            levels.append(level_anchors(h, w, cells, device=pyramid[name].device))
        return torch.cat(levels)


@dataclass(frozen=True, slots=True)
class YolactArchitecture:
    """What the names and shapes of a YOLACT file tell.

    Attributes:
        depth, dcn_interval: of the ResNet.
        channels, num_classes, num_prototypes: as of STMask.
        num_anchors: of each cell: 3 (YOLACT) or 9 (YOLACT++).
        side: of the square input in pixels.
    """

    depth: int
    dcn_interval: int
    channels: int
    num_classes: int
    num_prototypes: int
    num_anchors: int
    side: int

    def model_config(self) -> dict[str, Any]:
        """The plain `model` configuration that builds it."""
        return {
            "_target_": "stmask.official.yolact.Yolact",
            "num_classes": self.num_classes,
            "channels": self.channels,
            "num_prototypes": self.num_prototypes,
            "anchor_scales": [int(scale / _BASE_SIDE * self.side) for scale in _BASE_SCALES],
            "anchor_shapes": anchor_shapes(self.num_anchors),
            "input_side": self.side,
            "backbone": {
                "_target_": "stmask.models.ResNet",
                "depth": self.depth,
                "dcn_interval": self.dcn_interval,
                "frozen_norm": True,
                "weights": None,
            },
        }

    def describe(self) -> list[str]:
        """What was recognised, one fact a line."""
        return [
            f"network: {'YOLACT++' if self.num_anchors == 9 else 'YOLACT'}, an image model",
            f"backbone: ResNet-{self.depth}"
            + (f", deformable at interval {self.dcn_interval}" if self.dcn_interval else ""),
            f"anchors: {self.num_anchors} of each cell, for {self.side} x {self.side} inputs",
            f"classes: {self.num_classes}",
            f"prototypes: {self.num_prototypes}",
        ]


def anchor_shapes(count: int) -> list[list[float]]:
    """(h, w) of the anchors as factors of the scale; YOLACT's three are all squares, a mistake that it kept."""
    if count == 3:
        return [[math.sqrt(ratio), math.sqrt(ratio)] for ratio in _RATIOS]
    octaves = [2 ** (j / 3) for j in range(3)]
    return [[octave / math.sqrt(ratio), octave * math.sqrt(ratio)] for octave in octaves for ratio in _RATIOS]


def recognise_yolact(shapes: Shapes, *, source: str) -> YolactArchitecture:
    """The architecture of a file of YOLACT's or YOLACT++'s weights.

    Raises:
        CheckpointError: another backbone than a ResNet, or another number of anchors.
    """
    boxes = shapes["prediction_layers.0.bbox_layer.weight"]
    num_anchors = boxes[0] // 4
    if num_anchors not in (3, 9) or boxes[2:] != (3, 3):
        raise CheckpointError(f"{source} has {num_anchors} anchors of each cell, known are YOLACT's 3 and YOLACT++'s 9")
    side = next((side for side in _OTHER_SIDES if re.search(rf"im{side}(?!\d)", source)), _BASE_SIDE)
    return YolactArchitecture(
        depth=depth(shapes, source),
        dcn_interval=dcn_interval(shapes, source),
        channels=shape_of(shapes, "fpn.lat_layers.0.weight", source)[0],
        num_classes=shape_of(shapes, "prediction_layers.0.conf_layer.weight", source)[0] // num_anchors - 1,
        num_prototypes=shape_of(shapes, "proto_net.10.weight", source)[0],
        num_anchors=num_anchors,
        side=side,
    )


def split_anchors(tensors: Mapping[str, Tensor], num_anchors: int) -> dict[str, Tensor]:
    """The output convolution of each branch as one for each anchor, as STMask's files have them."""
    split = {}
    for name, value in tensors.items():
        layer, _, kind = name.removeprefix("prediction_layers.0.").partition(".")
        if layer in _LAYERS and len(value) % num_anchors == 0:
            parts = value.reshape(num_anchors, -1, *value.shape[1:])
            split.update({f"prediction_layers.0.{layer}.{k}.{kind}": part.clone() for k, part in enumerate(parts)})
        else:
            split[name] = value
    return split
