"""Weights of CondInst from mmdet 3, told by their tensors' names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stmask.errors import CheckpointError
from stmask.official.architecture import Shapes, resnet_depth, shape_of
from stmask.official.keys import Rule

_HEAD, _BRANCH = "bbox_head", "mask_head.mask_feature_head"
_CONTROLLER = f"{_HEAD}.controller.weight"

CONDINST: tuple[Rule, ...] = (
    Rule("backbone.*", "backbone.*"),
    Rule("neck.lateral_convs.*.conv.*", "fpn.inner_blocks.*.0.*"),
    Rule("neck.fpn_convs.#.conv.*", "fpn.layer_blocks.#.0.*", tuple((n, n) for n in "012")),
    Rule("neck.fpn_convs.#.conv.*", "fpn.extra_blocks.#.*", (("3", "p6"), ("4", "p7"))),
    *(
        rule
        for theirs, ours in (("cls_convs", "class_tower"), ("reg_convs", "box_tower"))
        for rule in (
            Rule(f"{_HEAD}.{theirs}.*.conv.*", f"head.{ours}.*.conv.*"),
            Rule(f"{_HEAD}.{theirs}.*.gn.*", f"head.{ours}.*.norm.*"),
        )
    ),
    Rule(f"{_HEAD}.conv_cls.*", "head.class_logits.*"),
    Rule(f"{_HEAD}.conv_reg.*", "head.distances.*"),
    Rule(f"{_HEAD}.conv_centerness.*", "head.centreness.*"),
    Rule(f"{_HEAD}.controller.*", "head.filters.*"),
    Rule(f"{_HEAD}.scales.*", "head.scales.*"),
    *(
        Rule(f"{_BRANCH}.convs_all_levels.{n}.conv{n}.{theirs}.*", f"mask_branch.levels.{n}.{ours}.*")
        for n in range(3)
        for theirs, ours in (("conv", "conv"), ("bn", "norm"))
    ),
    Rule(f"{_BRANCH}.conv_branch.*.conv.*", "mask_branch.tower.*.conv.*"),
    Rule(f"{_BRANCH}.conv_branch.*.bn.*", "mask_branch.tower.*.norm.*"),
    Rule(f"{_BRANCH}.conv_pred.*", "mask_branch.output.*"),
)


@dataclass(frozen=True, slots=True)
class CondInstArchitecture:
    """What the names and shapes of a file of mmdet's CondInst reveal.

    Attributes:
        depth: of the ResNet.
        channels: of the pyramid and the towers.
        tower_depth: convolutions of each tower.
        mask_hidden, mask_channels: of the mask branch.
        num_classes: K.
    """

    depth: int
    channels: int
    tower_depth: int
    mask_hidden: int
    mask_channels: int
    num_classes: int

    def model_config(self) -> dict[str, Any]:
        """The plain `model` configuration that builds it: a network of images."""
        return {
            "_target_": "stmask.models.condinst.CondInst",
            "num_classes": self.num_classes,
            "channels": self.channels,
            "tower_depth": self.tower_depth,
            "mask_hidden": self.mask_hidden,
            "mask_channels": self.mask_channels,
            "embedding_dim": None,
            "backbone": {
                "_target_": "stmask.models.layers.ResNet",
                "depth": self.depth,
                "frozen_norm": True,
                "train_scales": True,
                "frozen_stages": 1,
                "weights": None,
            },
        }

    def describe(self) -> list[str]:
        """What was recognised, one fact per line."""
        return [
            "network: CondInst of mmdet, a network of images: it has no embeddings, and is tracked by its masks",
            f"backbone: ResNet-{self.depth}",
            f"classes: {self.num_classes}",
        ]


def is_condinst(shapes: Shapes) -> bool:
    """Whether a file holds mmdet's CondInst, or BoxInst, which is the same network."""
    return _CONTROLLER in shapes and f"{_BRANCH}.conv_pred.weight" in shapes


def recognise_condinst(shapes: Shapes, *, source: str) -> CondInstArchitecture:
    """The architecture of a file of mmdet's CondInst.

    Raises:
        CheckpointError: another backbone.
    """
    hidden, _ = shape_of(shapes, f"{_BRANCH}.conv_branch.0.conv.weight", source)[:2]
    towers = {name.split(".")[2] for name in shapes if name.startswith(f"{_HEAD}.reg_convs.")}
    if not towers:
        raise CheckpointError(f"{source}: a CondInst without {_HEAD}.reg_convs, which ours has")
    return CondInstArchitecture(
        depth=resnet_depth(shapes, prefix="backbone.", source=source),
        channels=shape_of(shapes, "neck.fpn_convs.0.conv.weight", source)[0],
        tower_depth=len(towers),
        mask_hidden=hidden,
        mask_channels=shape_of(shapes, f"{_BRANCH}.conv_pred.weight", source)[0],
        num_classes=shape_of(shapes, f"{_HEAD}.conv_cls.weight", source)[0],
    )
