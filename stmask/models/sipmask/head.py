"""The head of SipMask: what it predicts at points, and the maps that instances read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.models.layers.conv import Conv2d, conv_relu, grouped_norm
from stmask.models.layers.fcos import STRIDES, NormedTower, Scale
from stmask.models.sipmask.records import SipMaskMaps
from stmask.number_checks import require_integer
from stmask.ops.deform import deform_conv

QUARTERS = 4
_OFFSET_GROUPS = 4
_TAPS = 9
_FINE_LEVELS = 3  # P3, P4, P5, from which maps at stride 8 are made
_PRIOR = 0.01  # probability of a class in the beginning
_STD = 0.01
_ENLARGED = 4  # prototypes are computed at stride 8 and used at stride 2


class FeatureAlign(nn.Module):
    """A 3x3 deformable convolution whose offsets follow from the box that is predicted at the same cell.

    Its offsets are learnt from the class and mask losses alone: no gradient goes to the box.

    Args:
        channels: of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offsets = Conv2d(4, _OFFSET_GROUPS * 2 * _TAPS, 1, bias=False)
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.norm = grouped_norm(channels, groups=32, least=8)
        nn.init.zeros_(self.offsets.weight)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor, distances: Tensor) -> Tensor:
        """Maps (B, C, h, w) and distances (B, 4, h, w) in cells to maps (B, C, h, w)."""
        y = deform_conv(x, self.offsets(distances.detach()), self.weight)
        aligned: Tensor = self.norm(y, relu=True)
        return aligned


class SipMaskHead(nn.Module):
    """Towers that all levels share, and their outputs.

    Args:
        num_classes: K.
        channels: of the pyramid and of the towers.
        num_prototypes: D.
        hidden: channels of the layer before the prototypes.
        embedding_dim: E, of the track features.
        depth: convolutions of the box tower; the others have one fewer.
    """

    def __init__(
        self, *, num_classes: int, channels: int, num_prototypes: int, hidden: int, embedding_dim: int, depth: int
    ) -> None:
        super().__init__()
        require_integer(num_prototypes=num_prototypes, hidden=hidden, embedding_dim=embedding_dim)
        require_integer(2, tower_depth=depth)
        self.class_tower = NormedTower(channels=channels, depth=depth - 1)
        self.box_tower = NormedTower(channels=channels, depth=depth)
        self.track_tower = NormedTower(channels=channels, depth=depth - 1)
        self.align = FeatureAlign(channels)
        self.class_logits = Conv2d(channels, num_classes, 3, padding=1)
        self.distances = Conv2d(channels, 4, 3, padding=1)
        self.centreness = Conv2d(channels, 1, 3, padding=1)
        self.scales = nn.ModuleList(Scale() for _ in STRIDES)
        self.coefficients = Conv2d(channels, QUARTERS * num_prototypes, 3, padding=1)
        self.hidden = Conv2d(_FINE_LEVELS * channels, hidden, 1)
        self.prototypes = Conv2d(hidden, num_prototypes, 3, padding=1)
        self.track = Conv2d(_FINE_LEVELS * channels, embedding_dim, 1)
        outputs = (self.class_logits, self.distances, self.centreness, self.coefficients, self.track)
        for layer in outputs:
            nn.init.normal_(layer.weight, std=_STD)
        # theirs are as small as the others: from random weights masks then hardly begin to be learnt
        for layer in (self.hidden, self.prototypes):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for layer in (*outputs, self.hidden, self.prototypes):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        assert self.class_logits.bias is not None
        nn.init.constant_(self.class_logits.bias, -math.log((1 - _PRIOR) / _PRIOR))
        # boxes begin with an area, as theirs do not: where sides are crossed the IoU has no gradient
        assert self.distances.bias is not None
        nn.init.ones_(self.distances.bias)

    def forward(self, levels: Sequence[Tensor]) -> SipMaskMaps:
        """P3 .. P7, each (B, C, h, w); P3 has twice the rows and columns of P4, and P4 of P5."""
        boxes = [self.box_tower(level) for level in levels]
        ways = [scale(self.distances(box)) for scale, box in zip(self.scales, boxes, strict=True)]
        aligned = [self.align(self.class_tower(level), way) for level, way in zip(levels, ways, strict=True)]
        hidden = conv_relu(self.hidden, at_stride_8(boxes))
        prototypes = conv_relu(self.prototypes, hidden)
        return SipMaskMaps(
            class_logits=[self.class_logits(one) for one in aligned],
            distances_px=[way.float() * stride for way, stride in zip(ways, STRIDES, strict=True)],
            centreness_logits=[self.centreness(box) for box in boxes],
            coefficients=[self.coefficients(one) for one in aligned],
            prototypes=F.interpolate(prototypes, scale_factor=_ENLARGED, mode="bilinear", align_corners=False),
            track=self.track_map(levels),
        )

    def track_map(self, levels: Sequence[Tensor]) -> Tensor:
        """P3 .. P5 (B, C, h, w), others are not read, to track features (B, E, H / 8, W / 8)."""
        features: Tensor = self.track(at_stride_8([self.track_tower(level) for level in levels[:_FINE_LEVELS]]))
        return features.float()


def at_stride_8(levels: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h, w) of P3, P4 and P5 beside each other at P3's size: (B, 3 * C, h, w)."""
    return torch.cat(
        [levels[0]]
        + [
            F.interpolate(level, scale_factor=2**number, mode="bilinear", align_corners=False)
            for number, level in enumerate(levels[1:_FINE_LEVELS], start=1)
        ],
        dim=1,
    )
