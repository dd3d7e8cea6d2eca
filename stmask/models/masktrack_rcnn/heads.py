"""The heads that look at single regions: class and box, mask, and the features by which an object is recognised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import roi_align

from stmask.models.masktrack_rcnn.proposals import STRIDES
from stmask.number_checks import require_integer

BOX_SIDE, MASK_SIDE = 7, 14  # cells of a region
_SMALLEST = 56.0  # pixels: regions from twice this side on are looked at on P3, and so on
_MASK_LAYERS = 4
_LEVELS = 4  # P6 serves the proposals alone


@dataclass(frozen=True, slots=True)
class RegionPooler:
    """RoIAlign on the level of the pyramid that suits a region's size.

    torchvision's `MultiScaleRoIAlign` has the same rule for the level, but no choice of `aligned`.

    Attributes:
        aligned: half-pixel aligned, as mmdet's weights were trained; torchvision's were not.
        sampling_ratio: points a side of each cell; -1: as many as the cell has pixels. torchvision's weights: 2.
    """

    aligned: bool = True
    sampling_ratio: int = -1

    def __post_init__(self) -> None:
        if self.sampling_ratio != -1:
            require_integer(sampling_ratio=self.sampling_ratio)

    def __call__(self, levels: Sequence[Tensor], boxes_px: Sequence[Tensor], *, side: int) -> Tensor:
        """Regions (sum N, C, side, side) of features P2, P3, .. under boxes_px[b] (N_b, 4), in the boxes' order."""
        counts = [len(group) for group in boxes_px]
        boxes = torch.cat(list(boxes_px)).float().nan_to_num()  # else the operator would read anywhere
        frames = torch.arange(len(counts), device=boxes.device).repeat_interleave(
            torch.tensor(counts, device=boxes.device)
        )
        rois = torch.cat([frames[:, None].to(boxes.dtype), boxes], dim=1)
        number = self.level_of(boxes)
        parts, places = [], []
        for index, (features, stride) in enumerate(zip(levels[:_LEVELS], STRIDES, strict=False)):
            here = (number == index).nonzero().flatten()
            parts.append(
                roi_align(
                    features.to(torch.promote_types(features.dtype, torch.float32)),
                    rois[here],
                    output_size=side,
                    spatial_scale=1 / stride,
                    sampling_ratio=self.sampling_ratio,
                    aligned=self.aligned,
                )
            )
            places.append(here)
        return torch.cat(parts)[torch.cat(places).argsort()].to(levels[0].dtype)

    def level_of(self, boxes_px: Tensor) -> Tensor:
        """The level (N,) int64 of each box, 0 for P2."""
        side = (boxes_px[:, 2:] - boxes_px[:, :2]).clamp(min=0).prod(dim=1).sqrt()
        return (side / _SMALLEST + 1e-6).log2().floor().clamp(0, _LEVELS - 1).long()


class BoxHead(nn.Module):
    """Class and box of a region.

    Args:
        num_classes: K.
        channels: of the pyramid.
        hidden: of the two layers that all outputs share.
    """

    def __init__(self, *, num_classes: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = TwoMLPHead(channels * BOX_SIDE**2, hidden)
        self.class_logits = nn.Linear(hidden, num_classes + 1)
        self.box_deltas = nn.Linear(hidden, 4 * num_classes)
        for layer, std in ((self.class_logits, 0.01), (self.box_deltas, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Regions (N, C, 7, 7) to logits (N, K + 1), the background first, and box deltas (N, K, 4) for each class."""
        shared = self.layers(regions)
        return self.class_logits(shared).float(), self.box_deltas(shared).float().unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """The mask of a region, for each class.

    Args:
        num_classes: K.
        channels: of the pyramid and of the layers.
    """

    def __init__(self, *, num_classes: int, channels: int) -> None:
        super().__init__()
        self.layers = MaskRCNNHeads(channels, (channels,) * _MASK_LAYERS, 1)
        self.output = MaskRCNNPredictor(channels, channels, num_classes)

    def forward(self, regions: Tensor) -> Tensor:
        """Regions (N, C, 14, 14) to logits (N, K, 28, 28)."""
        logits: Tensor = self.output(self.layers(regions))
        return logits.float()


class TrackHead(nn.Module):
    """The features of a region by which an object is recognised: their dot products are compared.

    Args:
        channels: of the pyramid.
        hidden: of both layers, and E.
        last_relu: a ReLU after the second layer too, as mmtracking has it and MaskTrack's first code has not.
    """

    def __init__(self, *, channels: int, hidden: int, last_relu: bool) -> None:
        super().__init__()
        self.first = nn.Linear(channels * BOX_SIDE**2, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last_relu = last_relu
        for layer in (self.first, self.second):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, regions: Tensor) -> Tensor:
        """Regions (N, C, 7, 7) to track features (N, E)."""
        features: Tensor = self.second(self.first(regions.flatten(1)).relu()).float()
        return features.relu() if self.last_relu else features


class RegionHeads(nn.Module):
    """All that is computed of single regions.

    Args:
        pooler: cuts them out.
        num_classes: K.
        channels: of the pyramid and the mask head.
        hidden: of the layers of the box head and the track head.
        last_relu: of the track head.
    """

    def __init__(self, *, pooler: RegionPooler, num_classes: int, channels: int, hidden: int, last_relu: bool) -> None:
        super().__init__()
        self.pooler = pooler
        self.box = BoxHead(num_classes=num_classes, channels=channels, hidden=hidden)
        self.mask = MaskHead(num_classes=num_classes, channels=channels)
        self.track = TrackHead(channels=channels, hidden=hidden, last_relu=last_relu)

    def box_regions(self, levels: Sequence[Tensor], boxes_px: Sequence[Tensor]) -> Tensor:
        """Regions (sum N, C, 7, 7) for the box head and the track head, under boxes_px[b] (N_b, 4)."""
        return self.pooler(levels, boxes_px, side=BOX_SIDE)

    def mask_regions(self, levels: Sequence[Tensor], boxes_px: Sequence[Tensor]) -> Tensor:
        """Regions (sum N, C, 14, 14) for the mask head."""
        return self.pooler(levels, boxes_px, side=MASK_SIDE)
