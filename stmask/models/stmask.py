"""STMask: the parts wired together, nothing else."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stmask.models.fpn import FPN
from stmask.models.heads import HeadOutputs, PredictionHead
from stmask.models.protonet import ProtoNet
from stmask.models.temporal import TemporalFusion
from stmask.number_checks import require_integer
from stmask.ops.anchors import level_anchors
from stmask.structures import DensePredictions, Pyramid


class Backbone(Protocol):
    """A module from frames (B, 3, H, W) to {"C3": .., "C4": .., "C5": ..} at strides 8, 16, 32."""

    out_channels: dict[str, int]

    def __call__(self, frames: Tensor) -> dict[str, Tensor]: ...


class HeadFactory(Protocol):
    """Makes the prediction head; a partial of `PredictionHead`."""

    def __call__(self, *, num_classes: int, channels: int, num_prototypes: int) -> PredictionHead: ...


class TemporalFactory(Protocol):
    """Makes the temporal fusion; a partial of `TemporalFusion`."""

    def __call__(self, *, channels: int, num_prototypes: int) -> TemporalFusion: ...


class STMask(nn.Module):
    """One-stage video instance segmentation: frames to dense predictions; tracking is in `stmask.tracking`.

    Args:
        backbone: gives C3, C4, C5.
        num_classes: K, without the background.
        channels: channels of the pyramid, the prototypes' and the head's layers.
        num_prototypes: D.
        head: a factory called with num_classes, channels and num_prototypes.
        temporal: a factory called with channels and num_prototypes, or None for a network without temporal fusion.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_classes: int,
        head: HeadFactory,
        temporal: TemporalFactory | None = None,
        channels: int = 256,
        num_prototypes: int = 32,
    ) -> None:
        super().__init__()
        require_integer(num_classes=num_classes, channels=channels, num_prototypes=num_prototypes)
        shared = {"channels": channels, "num_prototypes": num_prototypes}
        self.backbone = backbone
        self.fpn = FPN(in_channels=backbone.out_channels, channels=channels)
        self.protonet = ProtoNet(**shared)
        self.head = head(num_classes=num_classes, **shared)
        self.temporal = None if temporal is None else temporal(**shared)
        self.num_classes = num_classes
        self.card: Any = None  # of a loaded checkpoint: `stmask.inference.card.ModelCard`
        self._initialise()

    def forward(self, frames: Tensor) -> DensePredictions:
        """Normalised frames (B, 3, H, W), H and W multiples of 32."""
        pyramid: Pyramid = self.fpn(self.backbone(frames))
        outputs: HeadOutputs = self.head(pyramid)
        return DensePredictions(
            box_deltas=outputs.box_deltas,
            class_logits=outputs.class_logits,
            mask_coeffs=outputs.mask_coeffs,
            embeddings=outputs.embeddings,
            centerness=outputs.centerness,
            anchors=self.anchors(pyramid),
            prototypes=self.protonet(pyramid["P3"]),
            temporal_features=self._temporal_features(pyramid, outputs.towers),
        )

    def anchors(self, pyramid: Pyramid) -> Tensor:
        """(A, 4) cxcywh in [0, 1] for the sizes of this pyramid."""
        shapes = [shape.size for shape in self.head.anchor_shapes]
        maps = (pyramid[name] for name in pyramid)
        return torch.cat([level_anchors(m.shape[-2], m.shape[-1], shapes, device=m.device) for m in maps])

    def _temporal_features(self, pyramid: Pyramid, towers: Pyramid) -> Tensor | None:
        if self.temporal is None:
            return None
        return self.temporal.features(pyramid[self.temporal.level], towers[self.temporal.level])

    def _initialise(self) -> None:
        """Xavier weights and zero biases everywhere but in the backbone, as YOLACT does."""
        for name, parameter in self.named_parameters():
            if name.startswith("backbone."):
                continue
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
