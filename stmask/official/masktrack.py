"""Weights of MaskTrack R-CNN from mmtracking and mmdet 3, and of the image networks that training starts from: Mask
R-CNN of mmdet and of torchvision. All are told by their tensors' names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stmask.errors import CheckpointError
from stmask.official.architecture import Shapes, resnet_depth, shape_of
from stmask.official.keys import Rule

_DETECTOR = "detector."
_BOX, _MASK, _TRACK = "detector.roi_head.bbox_head", "detector.roi_head.mask_head", "track_head.embed_head.fcs"
_FULLY = (("0", "layers.fc6"), ("1", "layers.fc7"))

MMDET: tuple[Rule, ...] = (
    Rule("detector.backbone.*", "backbone.*"),
    Rule("detector.neck.lateral_convs.*.conv.*", "fpn.inner_blocks.*.0.*"),
    Rule("detector.neck.fpn_convs.*.conv.*", "fpn.layer_blocks.*.0.*"),
    Rule("detector.rpn_head.rpn_conv.*", "rpn.conv.0.0.*"),
    Rule("detector.rpn_head.rpn_cls.*", "rpn.cls_logits.*"),
    Rule("detector.rpn_head.rpn_reg.*", "rpn.bbox_pred.*"),
    Rule(f"{_BOX}.shared_fcs.#.*", "heads.box.#.*", _FULLY),
    Rule(f"{_BOX}.fc_cls.*", "heads.box.class_logits.*"),
    Rule(f"{_BOX}.fc_reg.*", "heads.box.box_deltas.*"),
    Rule(f"{_MASK}.convs.*.conv.*", "heads.mask.layers.*.0.*"),
    Rule(f"{_MASK}.upsample.*", "heads.mask.output.conv5_mask.*"),
    Rule(f"{_MASK}.conv_logits.*", "heads.mask.output.mask_fcn_logits.*"),
    Rule(f"{_TRACK}.#.*", "heads.track.#.*", (("0", "first"), ("1", "second"))),
)
# the names of today, then those in the published files, which torchvision renames when it reads them
TORCHVISION: tuple[Rule, ...] = (
    Rule("backbone.body.*", "backbone.*"),
    *(
        rule
        for blocks in ("inner_blocks", "layer_blocks")
        for rule in (
            Rule(f"backbone.fpn.{blocks}.#.0.*", f"fpn.{blocks}.#.0.*", tuple((n, n) for n in "0123")),
            Rule(f"backbone.fpn.{blocks}.#.*", f"fpn.{blocks}.#.0.*", tuple((n, n) for n in "0123")),
        )
    ),
    Rule("rpn.head.conv.0.0.*", "rpn.conv.0.0.*"),
    Rule("rpn.head.conv.*", "rpn.conv.0.0.*"),
    Rule("rpn.head.*", "rpn.*"),
    Rule("roi_heads.box_head.*", "heads.box.layers.*"),
    Rule("roi_heads.box_predictor.cls_score.*", "heads.box.class_logits.*"),
    Rule("roi_heads.box_predictor.bbox_pred.*", "heads.box.box_deltas.*"),
    Rule(
        "roi_heads.mask_head.#.*",
        "heads.mask.layers.#.*",
        tuple((f"mask_fcn{n + 1}", f"{n}.0") for n in range(4)) + tuple((f"{n}.0", f"{n}.0") for n in range(4)),
    ),
    Rule("roi_heads.mask_predictor.*", "heads.mask.output.*"),
)
_COCO_IDS_WITHOUT_CLASS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_COCO_ROWS = 91  # of torchvision's class layers: the background, then COCO's ids


@dataclass(frozen=True, slots=True)
class MaskTrackArchitecture:
    """What the names and shapes of a file of mmtracking's MaskTrack R-CNN reveal.

    Attributes:
        depth: of the ResNet.
        groups, group_width: of its 3x3 convolutions.
        channels: of the pyramid.
        hidden: of the layers of the box head and the track head.
        num_classes: K, without the background.
    """

    depth: int
    groups: int
    group_width: int
    channels: int
    hidden: int
    num_classes: int

    def model_config(self) -> dict[str, Any]:
        """The plain `model` configuration that builds it."""
        return {
            "_target_": "stmask.models.masktrack_rcnn.MaskTrackRCNN",
            "num_classes": self.num_classes,
            "channels": self.channels,
            "hidden": self.hidden,
            "backbone": {
                "_target_": "stmask.models.layers.ResNet",
                "depth": self.depth,
                "groups": self.groups,
                "group_width": self.group_width,
                "frozen_norm": True,
                "train_scales": True,
                "frozen_stages": 1,
                "weights": None,
            },
        }

    def describe(self) -> list[str]:
        """What was recognised, one fact per line."""
        grouped = f"ResNeXt-{self.depth}, {self.groups} x {self.group_width}d"
        return [
            "network: MaskTrack R-CNN of mmtracking",
            f"backbone: {f'ResNet-{self.depth}' if self.groups == 1 else grouped}",
            f"classes: {self.num_classes}",
        ]


def is_mmdet(shapes: Shapes) -> bool:
    """Whether a file holds a network of mmdet or mmtracking, of whatever kind."""
    return any(re.match(r"(detector\.)?neck\.(lateral_convs|fpn_convs)\.", name) for name in shapes)


def is_torchvision(shapes: Shapes) -> bool:
    """Whether a file holds one of torchvision's Mask R-CNNs or Faster R-CNNs."""
    return "roi_heads.box_head.fc6.weight" in shapes


def recognise_masktrack(shapes: Shapes, *, source: str) -> MaskTrackArchitecture:
    """The architecture of a file of mmtracking's MaskTrack R-CNN.

    Raises:
        CheckpointError: another network of mmdet, MaskTrack R-CNN of the authors' first code, or another backbone.
    """
    if "track_head.fcs.0.weight" in shapes:
        raise CheckpointError(
            f"{source} is MaskTrack R-CNN of the authors' first code, whose boxes are a pixel wider than ours: use "
            "mmtracking's weights"
        )
    if f"{_TRACK}.0.weight" not in shapes or f"{_DETECTOR}rpn_head.rpn_cls.weight" not in shapes:
        heads = sorted({name.removeprefix(_DETECTOR).split(".")[0] for name in shapes} - {"backbone", "neck"})
        inner = next((name for name in shapes if name.removeprefix(_DETECTOR).split(".")[0] == heads[0]), "") or "none"
        raise CheckpointError(
            f"{source} is another network of mmdet than MaskTrack R-CNN and CondInst: it has no {_TRACK}.0.weight, its "
            f"heads are {', '.join(heads) or 'none'} ({inner}); Mask R-CNN of mmdet can start a training: "
            f"init_from={source}"
        )
    first = shape_of(shapes, "detector.backbone.layer1.0.conv2.weight", source)
    width = first[0]
    groups = max(1, width // max(1, first[1]))
    return MaskTrackArchitecture(
        depth=resnet_depth(shapes, prefix="detector.backbone.", source=source),
        groups=groups,
        group_width=first[1],
        channels=shape_of(shapes, "detector.neck.fpn_convs.0.conv.weight", source)[0],
        hidden=shape_of(shapes, f"{_BOX}.shared_fcs.0.weight", source)[0],
        num_classes=shape_of(shapes, f"{_BOX}.fc_cls.weight", source)[0] - 1,
    )


def background_first(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """mmdet's tensors with the background in the first row of the class layer, where it is the last."""
    return {name: value.roll(1, 0) if name.startswith(f"{_BOX}.fc_cls.") else value for name, value in tensors.items()}


def as_mmtracking(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """mmdet's own tensors by the names that they have in a tracker's file."""
    inside = any(name.startswith(_DETECTOR) for name in tensors)
    return {name if inside or name.startswith(_TRACK) else _DETECTOR + name: value for name, value in tensors.items()}


def without_background(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's tensors with boxes and masks for the classes alone, and of COCO's ids those that have a class."""
    rows = len(tensors["roi_heads.box_predictor.cls_score.weight"])
    keep = torch.tensor([i for i in range(rows) if rows != _COCO_ROWS or i not in _COCO_IDS_WITHOUT_CLASS])

    def chosen(name: str, value: Tensor) -> Tensor:
        if name.startswith("roi_heads.box_predictor.cls_score.") and len(value) == rows:
            return value[keep]
        if name.startswith("roi_heads.mask_predictor.mask_fcn_logits.") and len(value) == rows:
            return value[keep[1:]]
        if name.startswith("roi_heads.box_predictor.bbox_pred.") and len(value) == 4 * rows:
            return value.reshape(rows, -1)[keep[1:]].reshape(-1, *value.shape[1:])
        return value

    return {name: chosen(name, value) for name, value in tensors.items()}
