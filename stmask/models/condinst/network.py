"""CondInst (Tian et al., ECCV 2020), with embeddings for videos.

FCOS, whose points also predict the filters of three small layers: these draw the mask of the point's object, from
features that all objects of a frame share and from each pixel's place relative to the point. The image network is that
of mmdet 3. For videos a third tower gives each point an embedding, which learns by STMask's contrastive loss; CrossVIS
(Yang et al., ICCV 2021), whose baseline such a network is, learns its own by classifying the identities of the dataset.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from stmask.models.base import Tracker, TrackerFactory, VideoModel
from stmask.models.condinst.detector import FilterDetector
from stmask.models.condinst.head import MaskBranch, PointHead
from stmask.models.condinst.losses import CondInstLoss
from stmask.models.condinst.records import CondInstMaps
from stmask.models.layers import Backbone
from stmask.number_checks import require_integer
from stmask.structures import Clip, Frame, LossReport
from stmask.tracking import GatedCosine, MatchWeights, MemoryTracker, PlainTracker

_MAPS = ("C3", "C4", "C5")


class CondInst(VideoModel):
    """A one-stage network whose masks are drawn by filters that it predicts.

    Args:
        backbone: gives C3 .. C5.
        num_classes: K.
        channels: of the pyramid and the head's towers.
        tower_depth: convolutions of each tower.
        mask_hidden: channels of the layers before the mask features.
        mask_channels: of the mask features and of the layers that draw the masks.
        mask_norm: "batch", or "group" for small batches from random weights.
        embedding_dim: E; None: a network of images, without embeddings.
        detector: from maps to instances.
        tracker: a factory; None is `MemoryTracker` with `GatedCosine`; without embeddings `PlainTracker`, by masks
            alone.
        loss: what it learns from.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_classes: int,
        channels: int = 256,
        tower_depth: int = 4,
        mask_hidden: int = 128,
        mask_channels: int = 8,
        mask_norm: str = "batch",
        embedding_dim: int | None = 256,
        detector: FilterDetector | None = None,
        tracker: TrackerFactory | None = None,
        loss: CondInstLoss | None = None,
    ) -> None:
        super().__init__()
        require_integer(num_classes=num_classes, channels=channels, mask_hidden=mask_hidden)
        require_integer(mask_channels=mask_channels)
        if embedding_dim is not None:
            require_integer(embedding_dim=embedding_dim)
        self.num_classes = num_classes
        self.backbone = backbone
        self.fpn = FeaturePyramidNetwork(
            [backbone.out_channels[name] for name in _MAPS], channels, extra_blocks=LastLevelP6P7(channels, channels)
        )
        self.head = PointHead(
            num_classes=num_classes,
            channels=channels,
            depth=tower_depth,
            mask_channels=mask_channels,
            embedding_dim=embedding_dim,
        )
        self.mask_branch = MaskBranch(
            channels=channels, hidden=mask_hidden, mask_channels=mask_channels, norm=mask_norm
        )
        self.detector = detector or FilterDetector()
        self.loss = loss or CondInstLoss()
        self._tracker = tracker or (_by_masks if embedding_dim is None else _by_embeddings)

    def forward(self, frames: Tensor) -> CondInstMaps:
        """Normalised frames (B, 3, H, W), H and W multiples of 32."""
        levels = self.pyramid(frames)
        maps: CondInstMaps = self.head(levels, self.mask_branch(levels))
        return maps

    def pyramid(self, frames: Tensor) -> list[Tensor]:
        """P3 .. P7, each (B, C, h, w)."""
        maps = self.backbone(frames)
        return list(self.fpn({name: maps[name] for name in _MAPS}).values())

    def losses(self, clip: Clip, *, generator: torch.Generator) -> LossReport:
        """The losses of all frames of each clip; an object's embeddings learn to be alike in the frames of its clip."""
        frames = clip.frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        maps = self(frames)
        with torch.autocast(frames.device.type, enabled=False):
            return self.loss(maps, clip, generator=generator)

    def detect(self, frames: Tensor) -> list[Frame]:
        """Frames of `RecognisableInstances`, without embeddings of `Instances`; the images fill the frames."""
        return self.detect_within(frames, image_size=(frames.shape[2], frames.shape[3]))

    def detect_within(self, frames: Tensor, *, image_size: tuple[int, int]) -> list[Frame]:
        """As `detect`, of images of (h, w) pixels: no box reaches into the padding."""
        found = self.detector(self(frames), image_size=image_size, input_size=(frames.shape[2], frames.shape[3]))
        return [Frame(instances) for instances in found]

    def tracker(self) -> Tracker:
        """A fresh tracker."""
        return self._tracker()


def _by_embeddings() -> MemoryTracker:
    return MemoryTracker(scorer=GatedCosine(), label="first")


def _by_masks() -> PlainTracker:
    return PlainTracker(weights=MatchWeights(embedding=0.0, box_iou=0.0, label=1.0))
