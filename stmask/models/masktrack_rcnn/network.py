"""MaskTrack R-CNN (Yang et al., ICCV 2019): Mask R-CNN with a head whose features recognise objects over time.

The reference is mmtracking's version of it, moved into mmdet 3; what the authors' first code does otherwise and matters
are options. torchvision's parts serve where they compute the same: the pyramid, and the layers of all heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from stmask.models.base import Tracker, TrackerFactory, VideoModel
from stmask.models.layers import Backbone
from stmask.models.masktrack_rcnn.boxes import Size
from stmask.models.masktrack_rcnn.detector import RegionDetector
from stmask.models.masktrack_rcnn.heads import RegionHeads, RegionPooler
from stmask.models.masktrack_rcnn.losses import RegionLoss
from stmask.models.masktrack_rcnn.proposals import RATIOS, Proposer
from stmask.models.masktrack_rcnn.records import RegionMaps
from stmask.number_checks import require_integer
from stmask.structures import Clip, Frame, LossReport
from stmask.tracking import MemoryTracker, SoftmaxScores

_MAPS = ("C2", "C3", "C4", "C5")


class MaskTrackRCNN(VideoModel):
    """A two-stage network: proposals, then class, box, mask and track features of each.

    Args:
        backbone: gives C2 .. C5.
        num_classes: K, without the background.
        channels: of the pyramid, the proposals' layers and the mask head.
        hidden: of the layers of the box head and the track head.
        track_last_relu: a ReLU after the track head's second layer, too: mmtracking has it, MaskTrack's first code has
            not.
        proposer: chooses proposals among the anchors.
        pooler: cuts regions out of the pyramid.
        detector: from proposals to instances.
        tracker: a factory; None is `MemoryTracker` with `SoftmaxScores`.
        loss: what it learns from.

    Raises:
        ValueError: a backbone without C2.
    """

    clip_length = 2

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_classes: int,
        channels: int = 256,
        hidden: int = 1024,
        track_last_relu: bool = True,
        proposer: Proposer | None = None,
        pooler: RegionPooler | None = None,
        detector: RegionDetector | None = None,
        tracker: TrackerFactory | None = None,
        loss: RegionLoss | None = None,
    ) -> None:
        super().__init__()
        require_integer(num_classes=num_classes, channels=channels, hidden=hidden)
        if lacking := [name for name in _MAPS if name not in backbone.out_channels]:
            raise ValueError(f"MaskTrack R-CNN needs the maps C2 .. C5, this backbone does not give {lacking[0]}")
        self.num_classes = num_classes
        self.backbone = backbone
        self.fpn = FeaturePyramidNetwork(
            [backbone.out_channels[name] for name in _MAPS], channels, extra_blocks=LastLevelMaxPool()
        )
        self.rpn = RPNHead(channels, len(RATIOS))
        self.heads = RegionHeads(
            pooler=pooler or RegionPooler(),
            num_classes=num_classes,
            channels=channels,
            hidden=hidden,
            last_relu=track_last_relu,
        )
        self.proposer = proposer or Proposer()
        self.detector = detector or RegionDetector()
        self.loss = loss or RegionLoss()
        self._tracker = tracker or _tracker

    def forward(self, frames: Tensor) -> RegionMaps:
        """Normalised frames (B, 3, H, W), H and W multiples of 32."""
        levels = self.pyramid(frames)
        return RegionMaps(levels, *self.rpn(levels))

    def pyramid(self, frames: Tensor) -> list[Tensor]:
        """P2 .. P6, each (B, C, h, w)."""
        maps = self.backbone(frames)
        return list(self.fpn({name: maps[name] for name in _MAPS}).values())

    def losses(
        self, clip: Clip, *, generator: torch.Generator, proposals_px: Sequence[Tensor] | None = None
    ) -> LossReport:
        """The losses of the first frame of each clip, whose objects are looked for among those of the second.

        Args:
            clip: of two frames or more; the others are not used.
            generator: draws the anchors and regions that are learnt from.
            proposals_px: of each clip's first frame, (P, 4) in pixels, in place of the network's own.
        """
        frames = clip.frames[:, :2].transpose(0, 1).flatten(0, 1)  # (2 * B, 3, H, W), the first ones first
        levels = self.pyramid(frames.contiguous(memory_format=torch.channels_last))
        first, second = ([level[part] for level in levels] for part in (slice(len(clip)), slice(len(clip), None)))
        maps = RegionMaps(first, *self.rpn(first))
        if proposals_px is None:
            proposals_px = self.proposer(maps, [(int(h), int(w)) for h, w in clip.image_sizes[:, 0].tolist()])
        return self.loss(
            maps,
            clip,
            heads=self.heads,
            reference=second,
            anchors_px=torch.cat(self.proposer.anchors(first)),
            proposals_px=proposals_px,
            generator=generator,
        )

    def detect(self, frames: Tensor) -> list[Frame]:
        """Frames of `RecognisableInstances`; the images fill the frames."""
        h, w = frames.shape[-2:]
        return self.detect_within(frames, image_size=(h, w))

    def detect_within(self, frames: Tensor, *, image_size: Size) -> list[Frame]:
        """As `detect`, of images of (h, w) pixels: no box reaches into the padding."""
        maps = self(frames)
        proposals = self.proposer(maps, [image_size] * len(frames))
        found = self.detector(
            self.heads, maps.levels, proposals, image_size=image_size, input_size=(frames.shape[2], frames.shape[3])
        )
        return [Frame(instances) for instances in found]

    def tracker(self) -> Tracker:
        """A fresh tracker."""
        return self._tracker()


def _tracker() -> MemoryTracker:
    return MemoryTracker(scorer=SoftmaxScores(), forget_after=19)
