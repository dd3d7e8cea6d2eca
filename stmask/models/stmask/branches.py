"""The branches whose values few anchors need: mask coefficients and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.models.layers.conv import SameConv2d
from stmask.models.stmask.calibration import CalibratedConv
from stmask.ops.cells import Sizes, conv_rows, distinct, filled_up, frame_cells, rows_of, taps_of
from stmask.ops.layout import anchors_last
from stmask.ops.sheet import Sheet, sheet_for
from stmask.ops.streams import at_once

_MOSTLY = 0.5  # beyond this share of all cells gathering costs more than it saves


class Branches(Protocol):
    """Mask coefficients and embeddings of the anchors of B frames, computed where they are asked for."""

    def at(self, frames: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (N, D) before tanh and embeddings (N, E) of unit length of N anchors, each of its frame."""
        ...

    def everywhere(self) -> tuple[Tensor, Tensor]:
        """Coefficients (B, A, D) before tanh and embeddings (B, A, E) of unit length of all anchors."""
        ...


@dataclass(frozen=True, slots=True)
class ComputedBranches:
    """Branches of a network that computes them everywhere.

    Attributes:
        mask_coeffs: (B, A, D) before tanh.
        embeddings: (B, A, E) of unit length.
    """

    mask_coeffs: Tensor
    embeddings: Tensor

    def at(self, frames: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        return self.mask_coeffs[frames, anchors], self.embeddings[frames, anchors]

    def everywhere(self) -> tuple[Tensor, Tensor]:
        return self.mask_coeffs, self.embeddings


def kernels_of(outputs: nn.ModuleList) -> list[tuple[int, int]]:
    """The kernels of the output convolutions of a branch."""
    last = [layer.output if isinstance(layer, CalibratedConv) else layer for layer in outputs]
    return [conv.kernel for conv in last if isinstance(conv, SameConv2d)]


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of a head.

    Attributes:
        tower: 3x3 convolutions, a ReLU after each.
        outputs: the output convolution of each anchor shape.
    """

    tower: nn.Sequential
    outputs: nn.ModuleList

    @property
    def is_calibrated(self) -> bool:
        """Whether it has FCB, and so reads where its offsets lead."""
        return any(isinstance(conv, CalibratedConv) for conv in self.outputs)

    @property
    def plain_outputs(self) -> list[SameConv2d]:
        """The outputs of a branch without FCB."""
        return [layer for layer in self.outputs if isinstance(layer, SameConv2d)]

    @property
    def convs(self) -> list[nn.Conv2d]:
        """Those of the tower."""
        return [layer for layer in self.tower if isinstance(layer, nn.Conv2d)]

    def everywhere(self, maps: Sequence[Tensor], box_deltas: Sequence[Sequence[Tensor]]) -> Tensor:
        """All anchors' values (B, A, O); see `LazyBranches` for the arguments."""
        if (sheet := sheet_for(maps, kernels_of(self.outputs))) is not None:
            return self._on_sheet(sheet, maps, box_deltas)
        jobs = [partial(self._level, x, deltas) for x, deltas in zip(maps, box_deltas, strict=True)]
        return torch.cat(at_once(jobs, device=maps[0].device), dim=1)

    def _on_sheet(self, sheet: Sheet, maps: Sequence[Tensor], box_deltas: Sequence[Sequence[Tensor]]) -> Tensor:
        joined = sheet.joined(maps)
        features = self.tower(joined, inside=sheet.inside(joined))
        cells = sheet.rows(features) if self.is_calibrated else joined
        outputs = []
        for conv, deltas in zip(self.outputs, zip(*box_deltas, strict=True), strict=True):
            if isinstance(conv, CalibratedConv):
                of_cells = torch.cat([one.permute(0, 2, 3, 1).flatten(1, 2) for one in deltas], dim=1)
                outputs.append(conv.on_sheet(cells, of_cells, sheet))
            else:
                outputs.append(sheet.rows(conv(features)))
        return torch.stack(outputs, dim=2).flatten(1, 2)

    def _level(self, x: Tensor, box_deltas: Sequence[Tensor]) -> Tensor:
        features = self.tower(x)
        outputs = [
            conv(features, deltas) if isinstance(conv, CalibratedConv) else conv(features)
            for conv, deltas in zip(self.outputs, box_deltas, strict=True)
        ]
        return anchors_last(outputs)


@dataclass(frozen=True, slots=True)
class LazyBranches:
    """Branches of a head, computed when they are asked for.

    An output convolution reads a small patch of its tower, whose convolutions read larger ones. These cells are
    computed, each once, for all levels and frames together. A branch with FCB is computed everywhere; so are all
    where most cells are needed.

    Attributes:
        mask: gives the coefficients.
        track: gives the embeddings; None: they are the coefficients.
        maps: (B, C, h, w) of each level, which the towers read.
        box_deltas: of each level, (B, 4, h, w) of each anchor shape.
        precision: device type, dtype and whether enabled, of the autocast that the layers run under.
    """

    mask: Branch
    track: Branch | None
    maps: Sequence[Tensor]
    box_deltas: Sequence[Sequence[Tensor]]
    precision: tuple[str, torch.dtype, bool]

    def at(self, frames: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(*self.precision):
            patches = self._patches(frames, anchors)
            rows = None if patches is None else rows_of(self.maps)
            values = [
                branch.everywhere(self.maps, self.box_deltas)[frames, anchors]
                if patches is None or rows is None or branch.is_calibrated
                else patches.through(branch, rows)
                for branch in self._branches
            ]
        return values[0], F.normalize(values[-1], dim=-1)

    def everywhere(self) -> tuple[Tensor, Tensor]:
        with torch.autocast(*self.precision):
            jobs = [partial(branch.everywhere, self.maps, self.box_deltas) for branch in self._branches]
            values = at_once(jobs, device=self.maps[0].device)
        return values[0], F.normalize(values[-1], dim=-1)

    @property
    def _branches(self) -> list[Branch]:
        return [self.mask] if self.track is None else [self.mask, self.track]

    def _patches(self, frames: Tensor, anchors: Tensor) -> _Patches | None:
        """What a branch without FCB computes; None where computing everything is better."""
        plain = next((branch for branch in self._branches if not branch.is_calibrated), None)
        if plain is None:
            return None
        patches = _Patches.of(plain, self.maps, frames, anchors)
        cells = sum(x.shape[0] * x.shape[2] * x.shape[3] for x in self.maps)
        return patches if len(patches.tower[0]) <= _MOSTLY * cells else None


@dataclass(frozen=True, slots=True)
class _Patches:
    """What each layer of a branch reads, for N anchors.

    Attributes:
        tower: of each convolution (M, 9), rows of the layer below.
        outputs: of each output convolution (at least N', kh * kw), rows of the tower's last layer.
        order: (N,) places of the anchors in the outputs joined.
    """

    tower: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    order: Tensor

    @staticmethod
    def of(branch: Branch, maps: Sequence[Tensor], frames: Tensor, anchors: Tensor) -> _Patches:
        """From the outputs down."""
        sizes: Sizes = tuple((x.shape[2], x.shape[3]) for x in maps)
        batch_size, count = maps[0].shape[0], len(branch.outputs)
        cells, shapes = frames * frame_cells(sizes) + anchors // count, anchors % count
        groups = [(shapes == shape).nonzero().flatten() for shape in range(count)]
        read = [filled_up(cells[group], sizes, batch_size=batch_size) for group in groups]
        taps = [taps_of(some, sizes, conv.kernel) for some, conv in zip(read, branch.plain_outputs)]
        cells, places = distinct(torch.cat([one.flatten() for one in taps]), sizes, batch_size=batch_size)
        outputs = tuple(places[one] for one in taps)
        tower: list[Tensor] = []
        for layer in range(len(branch.convs)):
            reads = taps_of(cells, sizes, (3, 3))
            if layer < len(branch.convs) - 1:
                cells, places = distinct(reads, sizes, batch_size=batch_size)
                reads = places[reads]
            tower.insert(0, reads)
        starts = accumulate((len(some) for some in read), initial=0)
        joined = torch.cat([start + torch.arange(len(group)) for start, group in zip(starts, groups)])
        return _Patches(tuple(tower), outputs, joined.to(cells.device)[torch.cat(groups).argsort()])

    def through(self, branch: Branch, rows: Tensor) -> Tensor:
        """Values (N, O) of a branch from the rows of the maps."""
        for conv, taps in zip(branch.convs, self.tower, strict=True):
            rows = conv_rows(rows, taps, conv.weight, conv.bias, relu=True)
            rows = F.pad(rows, (0, 0, 0, 1))  # what padding reads
        outputs = zip(self.outputs, branch.plain_outputs, strict=True)
        return torch.cat([conv_rows(rows, taps, conv.weight, conv.bias) for taps, conv in outputs])[self.order]
