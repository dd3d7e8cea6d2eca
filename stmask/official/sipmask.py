"""Weights of SipMask's version for videos, and of the image network that its training starts from, as their authors
published them. Both are told by their tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stmask.errors import CheckpointError
from stmask.official.architecture import Shapes, resnet_depth, shape_of
from stmask.official.keys import Rule
from stmask.ops.frames import FramePreprocessor

_HEAD = "bbox_head"
_EXTRA_LEVELS = (("3", "extra_blocks.p6"), ("4", "extra_blocks.p7"), *((n, f"layer_blocks.{n}.0") for n in "012"))
_OUTPUTS = (
    ("fcos_cls", "class_logits"),
    ("fcos_reg", "distances"),
    ("fcos_centerness", "centreness"),
    ("sip_cof", "coefficients"),
    ("sip_mask_lat0", "hidden"),
    ("sip_mask_lat", "prototypes"),
    ("sipmask_track", "track"),
)
_TOWERS = (("cls_convs", "class_tower"), ("reg_convs", "box_tower"), ("track_convs", "track_tower"))

SIPMASK: tuple[Rule, ...] = (
    Rule("backbone.*", "backbone.*"),
    Rule("neck.lateral_convs.*.conv.*", "fpn.inner_blocks.*.0.*"),
    Rule("neck.fpn_convs.#.conv.*", "fpn.#.*", _EXTRA_LEVELS),
    Rule(f"{_HEAD}.#.*.conv.*", "head.#.*.conv.*", _TOWERS),
    Rule(f"{_HEAD}.#.*.gn.*", "head.#.*.norm.*", _TOWERS),
    Rule(f"{_HEAD}.feat_align.conv_offset.*", "head.align.offsets.*"),
    Rule(f"{_HEAD}.feat_align.norm.*", "head.align.norm.*"),
    Rule(f"{_HEAD}.feat_align.conv_adaption.*", "head.align.*"),
    Rule(f"{_HEAD}.scales.*.scale", "head.scales.*.scale"),
    Rule(f"{_HEAD}.#.*", "head.#.*", _OUTPUTS),
)
SIPMASK_INPUT = FramePreprocessor(height=360, width=640, mean=(122.7717, 115.9465, 102.9801), std=(1.0, 1.0, 1.0))
"""What the authors' weights were trained on."""


@dataclass(frozen=True, slots=True)
class SipMaskArchitecture:
    """What the names and shapes of a file reveal.

    Attributes:
        depth: of the ResNet.
        channels: of the pyramid.
        num_classes: K.
        num_prototypes, hidden, embedding_dim, tower_depth: as of `SipMask`.
    """

    depth: int
    channels: int
    num_classes: int
    num_prototypes: int
    hidden: int
    embedding_dim: int
    tower_depth: int

    def model_config(self) -> dict[str, Any]:
        """The plain `model` configuration that builds it."""
        return {
            "_target_": "stmask.models.sipmask.SipMask",
            "num_classes": self.num_classes,
            "channels": self.channels,
            "num_prototypes": self.num_prototypes,
            "hidden": self.hidden,
            "embedding_dim": self.embedding_dim,
            "tower_depth": self.tower_depth,
            "backbone": {
                "_target_": "stmask.models.layers.ResNet",
                "depth": self.depth,
                "stride_in_1x1": True,
                "frozen_norm": True,
                "frozen_stages": 1,
                "weights": None,
            },
        }

    def describe(self) -> list[str]:
        """What was recognised, one fact per line."""
        return [
            "network: SipMask of its authors, for videos",
            f"backbone: ResNet-{self.depth}",
            f"classes: {self.num_classes}",
        ]


def is_sipmask(shapes: Shapes) -> bool:
    """Whether a file holds a SipMask, for videos or for images."""
    return f"{_HEAD}.sip_cof.weight" in shapes


def recognise_sipmask(shapes: Shapes, *, source: str) -> SipMaskArchitecture:
    """The architecture of a file of SipMask's version for videos.

    Raises:
        CheckpointError: its image network, or another backbone.
    """
    if f"{_HEAD}.sipmask_track.weight" not in shapes:
        raise CheckpointError(
            f"{source} is SipMask's image network, without {_HEAD}.sipmask_track.weight, which tracks: it can start a "
            f"training: model=sipmask init_from={source}"
        )
    towers = {name.split(".")[2] for name in shapes if name.startswith(f"{_HEAD}.reg_convs.")}
    return SipMaskArchitecture(
        depth=resnet_depth(shapes, prefix="backbone.", source=source),
        channels=shape_of(shapes, "neck.fpn_convs.0.conv.weight", source)[0],
        num_classes=shape_of(shapes, f"{_HEAD}.fcos_cls.weight", source)[0],
        num_prototypes=shape_of(shapes, f"{_HEAD}.sip_cof.weight", source)[0] // 4,
        hidden=shape_of(shapes, f"{_HEAD}.sip_mask_lat0.weight", source)[0],
        embedding_dim=shape_of(shapes, f"{_HEAD}.sipmask_track.weight", source)[0],
        tower_depth=len(towers),
    )


def red_first(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors for frames whose first channel is red, where theirs is blue."""
    return {name: value.flip(1) if name == "backbone.conv1.weight" else value for name, value in tensors.items()}
