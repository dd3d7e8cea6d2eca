"""The layers of CondInst that look at the pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from stmask.models.condinst.masks import enlarged, filter_count
from stmask.models.condinst.records import CondInstMaps
from stmask.models.layers.conv import Conv2d, GroupNorm, grouped_norm
from stmask.models.layers.fcos import STRIDES, NormedTower, PointPredictions, Points, Scale, by_point

_PRIOR = 0.01  # probability of each class at the start
_STD = 0.01
_BRANCH_LEVELS, _BRANCH_LAYERS = 3, 4
NORMS = ("batch", "group")
"""The values of `MaskBranch.norm`."""


class PointHead(nn.Module):
    """Class, box, centre-ness, filters and embedding of each point.

    Args:
        num_classes: K.
        channels: of the pyramid and the towers.
        depth: convolutions of each tower.
        mask_channels: of the features that the filters look at, and of their layers.
        embedding_dim: E; None: no embeddings, and no tower for them.
    """

    def __init__(
        self, *, num_classes: int, channels: int, depth: int, mask_channels: int, embedding_dim: int | None
    ) -> None:
        super().__init__()
        self.class_tower, self.box_tower = (NormedTower(channels=channels, depth=depth, bias=True) for _ in range(2))
        self.class_logits = Conv2d(channels, num_classes, 3, padding=1)
        self.distances = Conv2d(channels, 4, 3, padding=1)
        self.scales = nn.ModuleList([Scale() for _ in STRIDES])
        self.centreness = Conv2d(channels, 1, 3, padding=1)
        self.filters = Conv2d(channels, filter_count(mask_channels), 3, padding=1)
        self.track_tower = self.embeddings = None
        if embedding_dim is not None:
            self.track_tower = NormedTower(channels=channels, depth=depth, bias=True)
            self.embeddings = Conv2d(channels, embedding_dim, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=_STD)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        assert self.class_logits.bias is not None
        nn.init.constant_(self.class_logits.bias, -math.log((1 - _PRIOR) / _PRIOR))

    def forward(self, levels: Sequence[Tensor], features: Tensor) -> CondInstMaps:
        """P3 .. P7, each (B, C, h, w), and the features that the filters look at."""
        classes, distances, centreness, filters, embeddings = [], [], [], [], []
        for level, scale, stride in zip(levels, self.scales, STRIDES, strict=True):
            box_tower = self.box_tower(level)
            classes.append(self.class_logits(self.class_tower(level)))
            distances.append(scale(self.distances(box_tower)).float().clamp(min=0) * stride)
            centreness.append(self.centreness(box_tower))
            filters.append(self.filters(box_tower))
            if self.track_tower is not None and self.embeddings is not None:
                embeddings.append(self.embeddings(self.track_tower(level)))
        predictions = PointPredictions(
            by_point(classes).float(), by_point(distances), by_point(centreness).float()[..., 0]
        )
        return CondInstMaps(
            points=Points.of(classes),
            predictions=predictions,
            filters=by_point(filters).float(),
            features=features.float(),
            embeddings=by_point(embeddings).float() if embeddings else None,
        )


class MaskBranch(nn.Module):
    """The features that the filters look at, of P3, P4 and P5.

    Args:
        channels: of the pyramid.
        hidden: of the layers.
        mask_channels: of the features.
        norm: "batch", or "group" for small batches from random weights.
    """

    def __init__(self, *, channels: int, hidden: int, mask_channels: int, norm: str) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"mask_norm must be one of {', '.join(NORMS)}, got {norm!r}")
        self.levels = nn.ModuleList([MaskConv(channels, hidden, norm=norm) for _ in range(_BRANCH_LEVELS)])
        self.tower = nn.Sequential(*(MaskConv(hidden, hidden, norm=norm) for _ in range(_BRANCH_LAYERS)))
        self.output = Conv2d(hidden, mask_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """P3 .. P7, each (B, C, h, w), to features (B, D, h, w) at P3's size."""
        total = self.levels[0](levels[0])
        for layer, level in zip(self.levels[1:], levels[1:], strict=False):
            total = total + enlarged(layer(level), total.shape[-1] // level.shape[-1])
        features: Tensor = self.output(self.tower(total))
        return features


class MaskConv(nn.Module):
    """A 3x3 convolution without a bias, a norm and a ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: str) -> None:
        super().__init__()
        self.conv = Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels) if norm == "batch" else grouped_norm(out_channels, groups=32, least=8)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, h, w) to (B, out, h, w)."""
        y: Tensor = self.conv(x)
        y = self.norm(y, relu=True) if isinstance(self.norm, GroupNorm) else self.norm(y).relu()
        return y
