"""SipMask (Cao et al., ECCV 2020) for videos: FCOS with masks of four quarters, and a map of track features.

torchvision's pyramid serves, which computes the same.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from stmask.models.base import Tracker, TrackerFactory, VideoModel
from stmask.models.layers import Backbone
from stmask.models.sipmask.detector import PointDetector
from stmask.models.sipmask.head import SipMaskHead
from stmask.models.sipmask.losses import SipMaskLoss
from stmask.models.sipmask.records import SipMaskMaps
from stmask.models.sipmask.rescoring import MaskRescorer
from stmask.number_checks import require_integer
from stmask.structures import Clip, Frame, LossReport
from stmask.tracking import MemoryTracker, SoftmaxScores

_MAPS = ("C3", "C4", "C5")


class SipMask(VideoModel):
    """A one-stage network: class, box, centre-ness and mask coefficients at points, and a map of track features.

    Args:
        backbone: gives C3 .. C5.
        num_classes: K.
        channels: of the pyramid and of the head's towers.
        num_prototypes: D, of each quarter of a mask.
        hidden: channels of the layer before the prototypes.
        embedding_dim: E, of the track features.
        tower_depth: convolutions of the box tower; the towers of classes and tracks have one fewer.
        rescoring: a `MaskRescorer` judges the masks, as in SipMask++.
        detector: from maps to instances.
        tracker: a factory; None is `MemoryTracker` with `SoftmaxScores`, which remembers an object's first class and
            forgets none.
        loss: what it learns from.
    """

    clip_length = 2

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_classes: int,
        channels: int = 256,
        num_prototypes: int = 32,
        hidden: int = 512,
        embedding_dim: int = 512,
        tower_depth: int = 3,
        rescoring: bool = False,
        detector: PointDetector | None = None,
        tracker: TrackerFactory | None = None,
        loss: SipMaskLoss | None = None,
    ) -> None:
        super().__init__()
        require_integer(num_classes=num_classes, channels=channels)
        self.num_classes = num_classes
        self.backbone = backbone
        self.fpn = FeaturePyramidNetwork(
            [backbone.out_channels[name] for name in _MAPS], channels, extra_blocks=LastLevelP6P7(channels, channels)
        )
        self.head = SipMaskHead(
            num_classes=num_classes,
            channels=channels,
            num_prototypes=num_prototypes,
            hidden=hidden,
            embedding_dim=embedding_dim,
            depth=tower_depth,
        )
        self.rescorer = MaskRescorer(num_classes) if rescoring else None
        self.detector = detector or PointDetector()
        self.loss = loss or SipMaskLoss()
        self._tracker = tracker or _tracker

    def forward(self, frames: Tensor) -> SipMaskMaps:
        """Normalised frames (B, 3, H, W), H and W multiples of 32."""
        maps: SipMaskMaps = self.head(self.pyramid(frames))
        return maps

    def pyramid(self, frames: Tensor) -> list[Tensor]:
        """P3 .. P7, each (B, C, h, w)."""
        maps = self.backbone(frames)
        return list(self.fpn({name: maps[name] for name in _MAPS}).values())

    def losses(self, clip: Clip, *, generator: torch.Generator) -> LossReport:
        """The losses of the first frame of each clip, whose objects are looked for among those of the second.

        Args:
            clip: of two frames or more; the others are not used.
            generator: of the jitter of the second frame's boxes.
        """
        frames = clip.frames[:, :2].transpose(0, 1).flatten(0, 1)  # (2 * B, 3, H, W), the first ones first
        levels = self.pyramid(frames.contiguous(memory_format=torch.channels_last))
        first, second = ([level[part] for level in levels] for part in (slice(len(clip)), slice(len(clip), None)))
        return self.loss(
            self.head(first),
            clip,
            reference=self.head.track_map(second),
            generator=generator,
            rescorer=self.rescorer,
        )

    def detect(self, frames: Tensor) -> list[Frame]:
        """Frames of `RecognisableInstances`; the images fill the frames."""
        return self.detect_within(frames, image_size=(frames.shape[2], frames.shape[3]))

    def detect_within(self, frames: Tensor, *, image_size: tuple[int, int]) -> list[Frame]:
        """As `detect`, of images of (h, w) pixels: no box reaches into the padding."""
        found = self.detector(
            self(frames),
            image_size=image_size,
            input_size=(frames.shape[2], frames.shape[3]),
            rescorer=self.rescorer,
        )
        return [Frame(instances) for instances in found]

    def tracker(self) -> Tracker:
        """A fresh tracker."""
        return self._tracker()


def _tracker() -> MemoryTracker:
    return MemoryTracker(scorer=SoftmaxScores(), label="first", forget_after=None)
