"""Temporal fusion (TF): how the instances of one frame move to the next (equation 10)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.models.layers.conv import Conv2d, conv_relu
from stmask.models.layers.fpn import LEVELS
from stmask.number_checks import require_integer
from stmask.ops import winograd
from stmask.ops.correlation import BACKENDS, correlate
from stmask.ops.kernels import is_plain_cpu, state_of, usual_size
from stmask.ops.rois import crop_regions

_REGION_SIZE = 7
_LEAK = 0.1
_MANY = 16  # regions from which Winograd's tiles are faster
_AT_ONCE = 48  # regions at a time, to stay in the processor's cache


class TemporalFusion(nn.Module):
    """Correlates two frames' features and regresses, for each instance of the first, its shift to the second.

    Args:
        channels: C, channels of the features.
        num_prototypes: D.
        level: the pyramid level whose features are correlated.
        size: d, side of the correlation window: 11 on P4, 13 on P3 in the paper.
        hidden: channels of the convolutions over each region; None: 2C, 2C and 4C.
        backend: of `ops.correlation`.
    """

    def __init__(
        self,
        *,
        channels: int = 256,
        num_prototypes: int = 32,
        level: str = "P4",
        size: int = 11,
        hidden: Sequence[int] | None = None,
        backend: str = "torch",
    ) -> None:
        super().__init__()
        require_integer(channels=channels, num_prototypes=num_prototypes, size=size)
        for width in hidden or ():
            require_integer(hidden=width)
        if size % 2 == 0:
            raise ValueError(f"the side of the correlation window must be odd, got {size}")
        if level not in LEVELS:
            raise ValueError(f"the level of the temporal fusion must be one of {', '.join(LEVELS)}, got {level!r}")
        if backend not in BACKENDS:
            raise ValueError(f"correlation backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        self.level, self.size, self.backend = level, size, backend
        widths = [size * size + 2 * channels, *(hidden or (2 * channels, 2 * channels, 4 * channels))]
        self.convs = nn.ModuleList(Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self._tiles: tuple[list[tuple[int, int]], list[tuple[Tensor, Tensor]]] | None = None
        self.box = nn.Linear(widths[-1], 4)
        self.coeff = nn.Linear(widths[-1], num_prototypes)

    @property
    def _read_channels(self) -> int:
        first = self.convs[0]
        assert isinstance(first, nn.Conv2d)
        return first.in_channels

    def widen(self, multiple: int) -> None:
        """More channels for the first convolution, of zeros: half precision is faster with a multiple of 8."""
        first = self.convs[0]
        assert isinstance(first, nn.Conv2d)
        missing = -first.in_channels % multiple
        first.weight = nn.Parameter(F.pad(first.weight, (0, 0, 0, 0, 0, missing)), requires_grad=False)
        first.in_channels += missing

    def correlate(self, reference: Tensor, target: Tensor) -> Tensor:
        """Correlation maps (B, d * d, h, w) of features (B, C, h, w), after a leaky ReLU."""
        maps = correlate(reference, target, size=self.size, backend=self.backend)
        return F.leaky_relu(maps, _LEAK)

    @staticmethod
    def features(pyramid_map: Tensor, tower_map: Tensor) -> Tensor:
        """What a frame keeps for its neighbours: pyramid level and head tower, (B, C, h, w) each: (B, 2C, h, w)."""
        return torch.cat([pyramid_map, tower_map], dim=1)

    def fuse(self, reference: Tensor, target: Tensor) -> Tensor:
        """`features` (B, 2C, h, w) of frames t and t + 1 give (B, d * d + 2C, h, w).

        The pyramid's maps are correlated; the tower's maps of both frames go along.
        """
        (reference_map, reference_tower), (target_map, target_tower) = reference.chunk(2, dim=1), target.chunk(2, dim=1)
        maps = self.correlate(reference_map, target_map)
        return F.relu(torch.cat([maps, reference_tower, target_tower], dim=1))

    def forward(self, fused: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Shifts of instances.

        Args:
            fused: (B, d * d + 2C, h, w) from `fuse`.
            boxes: for each of the B pairs (N_b, 4) xyxy in [0, 1], the instances of frame t.

        Returns:
            Box deltas (sum N, 4) relative to the given boxes (decode with `ops.boxes.decode`), and coefficient deltas
            (sum N, D), to be added before tanh.
        """
        missing = self._read_channels - fused.shape[1]
        wide = F.pad(fused, (0, 0, 0, 0, 0, missing)) if missing else fused
        filled = is_plain_cpu(fused) and torch.is_grad_enabled()
        count = sum(map(len, boxes)) if filled else 0  # a program that is exported leaves their number open
        if filled:
            nothing = boxes[-1].new_zeros(usual_size(count) - count, 4)
            boxes = [*boxes[:-1], torch.cat([boxes[-1], nothing])]
        regions = crop_regions(wide, boxes, size=_REGION_SIZE)
        pooled = self._pooled_by_tiles(regions) if self._many(regions) else self._pooled(regions)
        pooled = pooled[:count] if filled else pooled
        return self.box(pooled), self.coeff(pooled)

    def _pooled(self, regions: Tensor) -> Tensor:
        """Regions (N, C', 7, 7) after the convolutions, averaged: (N, C'')."""
        x = regions
        for conv in self.convs:
            x = conv_relu(conv, x)
        return x.mean(dim=(2, 3))

    def _pooled_by_tiles(self, regions: Tensor) -> Tensor:
        """The same with fewer multiplications."""
        weights = self._transformed_weights()
        pooled = []
        for some in regions.tensor_split(-(-len(regions) // _AT_ONCE)):
            grid = winograd.laid_out(some)
            for weight, bias in weights:
                grid = winograd.conv_relu(grid, weight, bias, side=_REGION_SIZE)
            pooled.append(grid[1 : _REGION_SIZE + 1, 1 : _REGION_SIZE + 1].mean(dim=(0, 1)))
        return torch.cat(pooled)

    @staticmethod
    def _many(regions: Tensor) -> bool:
        """Whether tiles pay: in inference on the CPU, from some number of regions on."""
        plain = is_plain_cpu(regions) and regions.dtype == torch.float32 and not torch.is_grad_enabled()
        return plain and len(regions) >= _MANY

    def train(self, mode: bool = True) -> TemporalFusion:
        """Sets training or evaluation mode. What was made of the weights goes: fused optimisers change them unseen."""
        self._tiles = None
        return super().train(mode)

    def _transformed_weights(self) -> list[tuple[Tensor, Tensor]]:
        """Weights and biases for `ops.winograd`, made again when the weights have changed."""
        convs = [conv for conv in self.convs if isinstance(conv, nn.Conv2d)]
        weights = [(conv.weight.detach(), conv.bias) for conv in convs]
        now = [state_of(weight) for weight, _ in weights]
        if self._tiles is None or self._tiles[0] != now:
            tiles = [(winograd.transformed(weight), bias) for weight, bias in weights if bias is not None]
            self._tiles = now, tiles
        return self._tiles[1]
