"""The branches whose values few anchors need: mask coefficients and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.models.layers.conv import SameConv2d
from stmask.models.stmask.calibration import CalibratedConv
from stmask.models.stmask.patches import Chosen, Reads
from stmask.ops.cells import rows_of
from stmask.ops.kernels import is_plain_cpu
from stmask.ops.layout import anchors_last
from stmask.ops.sheet import Sheet, sheet_for
from stmask.ops.streams import at_once


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
    def calibrated_outputs(self) -> list[CalibratedConv]:
        """The outputs of a branch with FCB."""
        return [layer for layer in self.outputs if isinstance(layer, CalibratedConv)]

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

    def features(self, maps: Sequence[Tensor]) -> Tensor:
        """The tower's output at all cells: (B * (P + 1), C), as of `stmask.ops.cells.rows_of`."""
        if (sheet := sheet_for(maps, kernels_of(self.outputs))) is None:
            return rows_of([self.tower(x) for x in maps])
        joined = sheet.joined(maps)
        return F.pad(sheet.rows(self.tower(joined, inside=sheet.inside(joined))), (0, 0, 0, 1)).flatten(0, 1)

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

    An output convolution reads a small patch of its tower, whose convolutions read larger ones; with FCB a deformable
    convolution lies between them. These cells are computed, each once, for all levels and frames together. Where most
    cells are needed, all are computed, and so they are with FCB on a GPU.

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
            values = [
                branch.everywhere(self.maps, self.box_deltas)[frames, anchors] if some is None else some
                for branch, some in zip(self._branches, self._by_patches(frames, anchors))
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

    def _by_patches(self, frames: Tensor, anchors: Tensor) -> Sequence[Tensor | None]:
        """The branches' values; None for those that are better computed everywhere."""
        branches, on_cpu = self._branches, is_plain_cpu(self.maps[0])
        if not on_cpu and all(branch.is_calibrated for branch in branches):
            return [None] * len(branches)
        chosen = Chosen.of(kernels_of(self.mask.outputs), self.maps, frames, anchors)
        rows = rows_of(self.maps)
        values: list[Tensor | None] = []
        reads: dict[tuple[Any, ...], Reads | None] = {}
        for branch in branches:
            if not branch.is_calibrated:
                values.append(chosen.plain(branch.convs, branch.plain_outputs, rows))
                continue
            outputs = branch.calibrated_outputs
            same = tuple(conv.offsets.key for conv in outputs)  # mask and track have the same offsets in FCB(ali)
            if on_cpu and same not in reads:
                reads[same] = chosen.reads(outputs, [rows_of(levels) for levels in zip(*self.box_deltas, strict=True)])
            some = None
            if (read := reads.get(same)) is not None:
                features = partial(branch.features, self.maps)
                some = chosen.calibrated(branch.convs, outputs, rows, reads=read, features=features)
            values.append(some)
        return values
