"""STMask: the parts wired together, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from stmask.models.base import Lanes, RunStage, Stage, Tracker, TrackerFactory, VideoModel
from stmask.models.layers import initialise_beside_backbone
from stmask.models.layers.fpn import FPN, Pyramid
from stmask.models.layers.fused import ready
from stmask.models.layers.protonet import ProtoNet
from stmask.models.layers.resnet import Backbone
from stmask.models.stmask.detector import Detector, detected
from stmask.models.stmask.head import HeadOutputs, PredictionHead
from stmask.models.stmask.lanes import TemporalLanes
from stmask.models.stmask.losses import Criterion
from stmask.models.stmask.records import DensePredictions
from stmask.models.stmask.staged import StagedModel, stages_of
from stmask.models.stmask.temporal import TemporalFusion
from stmask.models.stmask.tracker import TemporalTracker
from stmask.number_checks import require_integer
from stmask.ops.anchors import level_anchors
from stmask.ops.nms import CrossClassNMS
from stmask.ops.streams import at_once
from stmask.structures import Clip, Frame, LossReport
from stmask.tracking import PlainTracker

_WIDTH = 8  # channels that a GPU computes at once in half precision


class HeadFactory(Protocol):
    """Makes the prediction head; a partial of `PredictionHead`."""

    def __call__(self, *, num_classes: int, channels: int, num_prototypes: int) -> PredictionHead: ...


class TemporalFactory(Protocol):
    """Makes the temporal fusion; a partial of `TemporalFusion`."""

    def __call__(self, *, channels: int, num_prototypes: int) -> TemporalFusion: ...


class STMask(VideoModel):
    """One-stage video instance segmentation with feature calibration and temporal fusion.

    Args:
        backbone: gives C3, C4, C5.
        num_classes: K, without the background.
        channels: channels of the pyramid, the prototypes' and the head's layers.
        num_prototypes: D.
        head: a factory called with num_classes, channels and num_prototypes.
        temporal: a factory called with channels and num_prototypes, or None for a network without temporal fusion.
        detector: from dense predictions to instances.
        tracker: a factory; None is `TemporalTracker`, or `PlainTracker` for a network without temporal fusion.
        loss: what it learns from.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_classes: int,
        head: HeadFactory,
        temporal: TemporalFactory | None = None,
        detector: Detector | None = None,
        tracker: TrackerFactory | None = None,
        loss: Criterion | None = None,
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
        self.clip_length = 1 if self.temporal is None else 2
        self.detector = detector or Detector()
        self.loss = loss or Criterion()
        self._tracker = tracker or (PlainTracker if self.temporal is None else TemporalTracker)
        if isinstance(self.tracker(), TemporalTracker) and self.temporal is None:
            raise ValueError("TemporalTracker needs temporal fusion, this network has none: give model/tracker=plain")
        initialise_beside_backbone(self)

    def forward(self, frames: Tensor) -> DensePredictions:
        """Normalised frames (B, 3, H, W), H and W multiples of 32."""
        pyramid: Pyramid = self.fpn(self.backbone(frames))
        both: list[Any] = at_once(
            [partial(self.head, pyramid), partial(self.protonet, pyramid["P3"])], device=frames.device
        )
        outputs: HeadOutputs = both[0]
        return DensePredictions(
            box_deltas=outputs.box_deltas,
            class_logits=outputs.class_logits,
            branches=outputs.branches,
            centerness=outputs.centerness,
            anchors=self.anchors(pyramid),
            prototypes=both[1],
            temporal_features=self._temporal_features(pyramid, outputs.towers),
        )

    def losses(self, clip: Clip, *, generator: torch.Generator) -> LossReport:
        """The losses of every frame and, with temporal fusion, of the shift between the frames of a clip."""
        frames = clip.frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # (B * T, 3, H, W)
        return self.loss(
            self(frames),
            clip.flat_targets,
            clip_length=clip.frames.shape[1],
            temporal=self.temporal,
            generator=generator,
        )

    def detect(self, frames: Tensor) -> list[Frame]:
        """Frames of `Detections` and `FrameMemory`."""
        return detected(self.detector, self(frames), temporal=self.temporal)

    def tracker(self) -> Tracker:
        """A fresh tracker."""
        return self._tracker()

    def stages(self, frames: Tensor) -> dict[str, Stage]:
        """What another runtime computes."""
        return stages_of(self, frames)

    def by_stages(self, stages: Mapping[str, RunStage]) -> StagedModel:
        """This model, computed by another runtime."""
        return StagedModel(num_classes=self.num_classes, detector=self.detector, tracker=self._tracker, stages=stages)

    def lanes(self, tracker: Tracker, frames: Tensor, *, slots: int) -> Lanes | None:
        """Of `TemporalTracker`, `Detector` and `CrossClassNMS`."""
        parts = (tracker, TemporalTracker), (self.detector, Detector), (self.detector.nms, CrossClassNMS)
        if any(type(part) is not kind for part, kind in parts):  # another one may do something else
            return None
        assert isinstance(tracker, TemporalTracker)
        return TemporalLanes(self, tracker, frames=frames, slots=slots)

    def ready(self, dtype: torch.dtype) -> STMask:
        """A copy for inference alone, with weights of this precision."""
        copy = ready(self, dtype)
        if copy.temporal is not None:
            copy.temporal.widen(_WIDTH)
        return copy

    def anchors(self, pyramid: Pyramid) -> Tensor:
        """(A, 4) cxcywh in [0, 1] for the sizes of this pyramid."""
        shapes = [shape.size for shape in self.head.anchor_shapes]
        maps = (pyramid[name] for name in pyramid)
        return torch.cat([level_anchors(m.shape[-2], m.shape[-1], shapes, device=m.device) for m in maps])

    def _temporal_features(self, pyramid: Pyramid, towers: Pyramid) -> Tensor | None:
        if self.temporal is None:
            return None
        return self.temporal.features(pyramid[self.temporal.level], towers[self.temporal.level])
