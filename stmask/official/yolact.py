"""Files of YOLACT's and YOLACT++'s weights: which network they are of, and their tensors anchor by anchor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stmask.errors import CheckpointError
from stmask.models.yolact import BASE_SCALES, BASE_SIDE, anchor_shapes
from stmask.official.architecture import Shapes, dcn_interval, depth, shape_of

_LAYERS = ("bbox_layer", "conf_layer", "mask_layer")
_OTHER_SIDES = (400, 700)  # trained for another input; only the file's name ("yolact_im700_..") tells


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
            "_target_": "stmask.models.yolact.Yolact",
            "num_classes": self.num_classes,
            "channels": self.channels,
            "num_prototypes": self.num_prototypes,
            "anchor_scales": [int(scale / BASE_SIDE * self.side) for scale in BASE_SCALES],
            "anchor_shapes": anchor_shapes(self.num_anchors),
            "input_side": self.side,
            "backbone": {
                "_target_": "stmask.models.layers.ResNet",
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


def recognise_yolact(shapes: Shapes, *, source: str) -> YolactArchitecture:
    """The architecture of a file of YOLACT's or YOLACT++'s weights.

    Raises:
        CheckpointError: another backbone than a ResNet, or another number of anchors.
    """
    boxes = shapes["prediction_layers.0.bbox_layer.weight"]
    num_anchors = boxes[0] // 4
    if num_anchors not in (3, 9) or boxes[2:] != (3, 3):
        raise CheckpointError(f"{source} has {num_anchors} anchors of each cell, known are YOLACT's 3 and YOLACT++'s 9")
    side = next((side for side in _OTHER_SIDES if re.search(rf"im{side}(?!\d)", source)), BASE_SIDE)
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
