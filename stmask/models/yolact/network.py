"""YOLACT and YOLACT++ (Bolya et al., ICCV 2019): image networks, tracked by their mask coefficients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.models.base import RunStage, Stage, Tracker, TrackerFactory, VideoModel
from stmask.models.layers import (
    FPN,
    Backbone,
    Conv2d,
    ProtoNet,
    Pyramid,
    SameConv2d,
    Tower,
    initialise_beside_backbone,
)
from stmask.models.stmask import ComputedBranches, Criterion, DensePredictions, Detector, LossWeights
from stmask.models.stmask.detector import detected
from stmask.models.stmask.staged import StagedModel, stages_of
from stmask.number_checks import require_integer, require_number
from stmask.ops.anchors import level_anchors
from stmask.ops.layout import anchors_last
from stmask.ops.matching import AnchorMatcher
from stmask.ops.nms import PerClassNMS
from stmask.structures import Clip, Frame, LossReport
from stmask.tracking import PlainTracker

BASE_SIDE = 550
"""Side of the square input that `BASE_SCALES` are meant for, in pixels."""
BASE_SCALES = (24, 48, 96, 192, 384)
"""Side of the square anchors of P3 .. P7, in pixels."""
_RATIOS = (1.0, 0.5, 2.0)


def anchor_shapes(count: int) -> list[list[float]]:
    """(h, w) of the anchors as factors of the scale; YOLACT's three are all squares, a bug of the original."""
    if count == 3:
        return [[math.sqrt(ratio), math.sqrt(ratio)] for ratio in _RATIOS]
    octaves = [2 ** (j / 3) for j in range(3)]
    return [[octave / math.sqrt(ratio), octave * math.sqrt(ratio)] for octave in octaves for ratio in _RATIOS]


class YolactHead(nn.Module):
    """Boxes, classes and mask coefficients of every anchor: one 3x3 convolution of each branch after a shared tower.

    Args:
        num_classes: K, without the background.
        channels: of the levels and the tower.
        num_prototypes: D.
        num_anchors: of each cell.
    """

    def __init__(self, *, num_classes: int, channels: int, num_prototypes: int, num_anchors: int) -> None:
        super().__init__()
        self.tower = Tower(Conv2d(channels, channels, 3, padding=1))
        self.box_outputs = _outputs(channels, 4, num_anchors)
        self.class_outputs = _outputs(channels, num_classes + 1, num_anchors)
        self.mask_outputs = _outputs(channels, num_prototypes, num_anchors)

    def forward(self, pyramid: Pyramid) -> tuple[Tensor, Tensor, Tensor]:
        """Box deltas (B, A, 4), class logits (B, A, K + 1) and mask coefficients (B, A, D), levels joined."""
        towers = [self.tower(pyramid[name]) for name in pyramid]
        box_deltas, class_logits, mask_coeffs = (
            torch.cat([anchors_last([conv(tower) for conv in outputs]) for tower in towers], dim=1)
            for outputs in (self.box_outputs, self.class_outputs, self.mask_outputs)
        )
        return box_deltas, class_logits, mask_coeffs


class Yolact(VideoModel):
    """An image network: a pyramid, prototypes, and a head with one convolution for all anchors of a branch.

    Args:
        backbone: gives C3, C4, C5.
        num_classes: K, without the background.
        anchor_scales: side of the anchors in pixels, for each level.
        anchor_shapes: (h, w) of each anchor of a cell, as factors of the scale.
        input_side: side of the input that the pixels are meant for; the anchors' share of the input is fixed by it.
        channels: channels of the pyramid, the prototypes' and the head's layers.
        num_prototypes: D.
        detector: from dense predictions to instances; None suppresses within each class.
        tracker: a factory; None is `PlainTracker`, with the mask coefficients in place of embeddings.
        loss: None is YOLACT's own, without its semantic segmentation term.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_classes: int,
        anchor_shapes: Sequence[Sequence[float]],
        anchor_scales: Sequence[float] = BASE_SCALES,
        input_side: int = BASE_SIDE,
        channels: int = 256,
        num_prototypes: int = 32,
        detector: Detector | None = None,
        tracker: TrackerFactory | None = None,
        loss: Criterion | None = None,
    ) -> None:
        super().__init__()
        require_integer(num_classes=num_classes, channels=channels, num_prototypes=num_prototypes)
        require_integer(input_side=input_side)
        if not anchor_shapes or any(len(shape) != 2 for shape in anchor_shapes):
            raise ValueError(f"anchor_shapes are pairs (height, width), got {list(anchor_shapes)}")
        for value in [*anchor_scales, *(side for shape in anchor_shapes for side in shape)]:
            require_number(open_low=True, anchor_size=value)
        self.num_classes = num_classes
        self.backbone = backbone
        self.fpn = FPN(in_channels=backbone.out_channels, channels=channels)
        self.protonet = ProtoNet(channels=channels, num_prototypes=num_prototypes)
        self.head = YolactHead(
            num_classes=num_classes, channels=channels, num_prototypes=num_prototypes, num_anchors=len(anchor_shapes)
        )
        self.detector = detector or Detector(nms=PerClassNMS())
        self.loss = loss or _loss()
        self._tracker = tracker or PlainTracker
        self._shares = [
            [(scale * h / input_side, scale * w / input_side) for h, w in anchor_shapes] for scale in anchor_scales
        ]
        initialise_beside_backbone(self)

    def forward(self, frames: Tensor) -> DensePredictions:
        """Normalised frames (B, 3, H, W)."""
        pyramid: Pyramid = self.fpn(self.backbone(frames))
        box_deltas, class_logits, mask_coeffs = self.head(pyramid)
        return DensePredictions(
            box_deltas=box_deltas,
            class_logits=class_logits,
            branches=ComputedBranches(mask_coeffs, F.normalize(mask_coeffs, dim=-1)),
            centerness=None,
            anchors=self.anchors(pyramid),
            prototypes=self.protonet(pyramid["P3"]),
            temporal_features=None,
        )

    def losses(self, clip: Clip, *, generator: torch.Generator) -> LossReport:
        """The losses of every frame by itself."""
        frames = clip.frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # (B * T, 3, H, W)
        return self.loss(self(frames), clip.flat_targets, clip_length=clip.frames.shape[1], generator=generator)

    def detect(self, frames: Tensor) -> list[Frame]:
        """Frames of `stmask.models.stmask.Detections`."""
        return detected(self.detector, self(frames))

    def tracker(self) -> Tracker:
        """A fresh tracker."""
        return self._tracker()

    def stages(self, frames: Tensor) -> dict[str, Stage]:
        """What another runtime computes."""
        return stages_of(self, frames)

    def by_stages(self, stages: Mapping[str, RunStage]) -> StagedModel:
        """This model, computed by another runtime."""
        return StagedModel(num_classes=self.num_classes, detector=self.detector, tracker=self._tracker, stages=stages)

    def anchors(self, pyramid: Pyramid) -> Tensor:
        """(A, 4) cxcywh in [0, 1]: sizes are shares of the input, not cells of the level as in STMask."""
        levels = []
        for name, shares in zip(pyramid, self._shares, strict=True):
            h, w = pyramid[name].shape[-2:]
            cells = [(share_h * h, share_w * w) for share_h, share_w in shares]
            levels.append(level_anchors(h, w, cells, device=pyramid[name].device))
        return torch.cat(levels)


def _outputs(channels: int, out_channels: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(SameConv2d(channels, out_channels, (3, 3), few=True) for _ in range(count))


def _loss() -> Criterion:
    return Criterion(
        weights=LossWeights(box=1.5, classification=1.0, centerness=0.0, track=0.0, shift_box=0.0, shift_mask=0.0),
        matcher=AnchorMatcher(ambiguous=False, quality=False),
        box_loss="smooth_l1",
        mask_crop=1.0,
        mask_full_resolution=False,
    )
