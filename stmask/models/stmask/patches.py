"""What the layers of a branch read for some anchors: the cells of all levels that must be computed, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.models.layers.conv import SameConv2d
from stmask.models.stmask.calibration import CalibratedConv
from stmask.ops.cells import Sizes, conv_rows, distinct, filled_up, frame_cells, taps_of
from stmask.ops.deform import deform_conv_reads, reads_of

MOSTLY = 0.5
"""Beyond this share of all cells gathering costs more than it saves."""


class Reads(NamedTuple):
    """What the deformable convolutions of a branch with FCB read; of each anchor shape:

    Attributes:
        corners: (M, kh * kw, 4) int32, the cells around each point.
        factors: (M, kh * kw, 4), theirs.
        places: (B * (P + 1),), where among the M the output convolution finds each cell.
    """

    corners: tuple[Tensor, ...]
    factors: tuple[Tensor, ...]
    places: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some anchors of B frames, and what the output convolution of each reads.

    Attributes:
        sizes: (h, w) of each level.
        batch_size: B.
        outputs: for each anchor shape (at least N', kh * kw) cells.
        order: (N,) places of the anchors in the outputs joined.
    """

    sizes: Sizes
    batch_size: int
    outputs: tuple[Tensor, ...]
    order: Tensor

    @staticmethod
    def of(kernels: Sequence[tuple[int, int]], maps: Sequence[Tensor], frames: Tensor, anchors: Tensor) -> Chosen:
        """N anchors, each of its frame, of a head with an output convolution of each of these kernels."""
        sizes: Sizes = tuple((x.shape[2], x.shape[3]) for x in maps)
        batch_size, count = maps[0].shape[0], len(kernels)
        cells, shapes = frames * frame_cells(sizes) + anchors // count, anchors % count
        groups = [(shapes == shape).nonzero().flatten() for shape in range(count)]
        read = [filled_up(cells[group], sizes, batch_size=batch_size) for group in groups]
        starts = accumulate((len(some) for some in read), initial=0)
        joined = torch.cat([start + torch.arange(len(group)) for start, group in zip(starts, groups)])
        return Chosen(
            sizes=sizes,
            batch_size=batch_size,
            outputs=tuple(taps_of(some, sizes, kernel) for some, kernel in zip(read, kernels)),
            order=joined.to(cells.device)[torch.cat(groups).argsort()],
        )

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return self.batch_size * frame_cells(self.sizes)

    def distinct(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Which cells are among these, see `stmask.ops.cells.distinct`."""
        return distinct(cells, self.sizes, batch_size=self.batch_size)

    def plain(self, tower: Sequence[nn.Conv2d], outputs: Sequence[SameConv2d], rows: Tensor) -> Tensor | None:
        """Values (N, O) of a branch without FCB; None where computing it everywhere is better.

        Args:
            tower: its 3x3 convolutions, a ReLU after each.
            outputs: the convolution of each anchor shape.
            rows: (B * (P + 1), C) of the maps that the tower reads.
        """
        cells, places = self.distinct(torch.cat([taps.flatten() for taps in self.outputs]))
        if self._are_most(cells):
            return None
        features = self._tower(tower, cells, rows)
        values = [
            conv_rows(features, places[taps], conv.weight, conv.bias)
            for taps, conv in zip(self.outputs, outputs, strict=True)
        ]
        return torch.cat(values)[self.order]

    def reads(self, outputs: Sequence[CalibratedConv], box_deltas: Sequence[Tensor]) -> Reads | None:
        """What the deformable convolutions of a branch with FCB read, on the CPU; None where computing it everywhere is
        better.

        Args:
            outputs: of each anchor shape.
            box_deltas: (B * (P + 1), 4) of each anchor shape.
        """
        found = [self.distinct(taps) for taps in self.outputs]
        if sum(len(cells) for cells, _ in found) > MOSTLY * len(found) * self.cells:
            return None
        corners, factors = zip(
            *(
                self._between(cells, conv.offsets_at(deltas[cells]), conv.output.kernel)
                for conv, (cells, _), deltas in zip(outputs, found, box_deltas, strict=True)
            )
        )
        return Reads(corners, factors, places=tuple(places for _, places in found))

    def calibrated(
        self,
        tower: Sequence[nn.Conv2d],
        outputs: Sequence[CalibratedConv],
        rows: Tensor,
        *,
        reads: Reads,
        features: Callable[[], Tensor],
    ) -> Tensor:
        """Values (N, O) of a branch with FCB.

        Args:
            tower, rows: as of `plain`.
            outputs: of each anchor shape.
            reads: what they read.
            features: gives what the tower makes of all rows.
        """
        cells, places = self.distinct(torch.cat([corners.flatten() for corners in reads.corners]))
        if self._are_most(cells):
            table, among = features(), reads.corners
        else:
            table, places = self._tower(tower, cells, rows), places.int()
            among = tuple(places[corners] for corners in reads.corners)
        values = []
        for conv, taps, corners, factors, found in zip(
            outputs, self.outputs, among, reads.factors, reads.places, strict=True
        ):
            calibrated = deform_conv_reads(table, corners, factors, weight=conv.adapt, relu=True)
            calibrated = F.pad(calibrated, (0, 0, 0, 1))  # what padding reads
            values.append(conv_rows(calibrated, found[taps], conv.output.weight, conv.output.bias))
        return torch.cat(values)[self.order]

    def _between(self, cells: Tensor, offsets: Tensor, kernel: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Corners (M, kh * kw, 4), as cells, and their factors; of a zero cell those of any other."""
        count = frame_cells(self.sizes)
        inside = cells % count
        first = (cells - inside).int()
        return reads_of(inside.clamp(max=count - 2), offsets, first=first, sizes=self.sizes, kernel=kernel)

    def _tower(self, convs: Sequence[nn.Conv2d], cells: Tensor, rows: Tensor) -> Tensor:
        """The last layer at M cells: (M + 1, C), the last row zero, which padding reads."""
        reads: list[Tensor] = []
        for layer in range(len(convs)):
            taps = taps_of(cells, self.sizes, (3, 3))
            if layer < len(convs) - 1:
                cells, places = self.distinct(taps)
                taps = places[taps]
            reads.insert(0, taps)
        for conv, taps in zip(convs, reads, strict=True):
            rows = F.pad(conv_rows(rows, taps, conv.weight, conv.bias, relu=True), (0, 0, 0, 1))
        return rows

    def _are_most(self, cells: Tensor) -> bool:
        return len(cells) > MOSTLY * self.cells
