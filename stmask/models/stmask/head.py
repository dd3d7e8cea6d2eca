"""The prediction head, shared by all levels: tower, four branches, one output convolution per anchor shape (FCA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from stmask.models.layers.conv import Conv2d, SameConv2d, Tower
from stmask.models.layers.fpn import Pyramid
from stmask.models.stmask.branches import Branch, LazyBranches, kernels_of
from stmask.models.stmask.calibration import AnchorShape, CalibratedConv, Calibration, NoCalibration
from stmask.number_checks import require_integer, require_number
from stmask.ops.layout import anchors_last
from stmask.ops.sheet import Sheet, sheet_for
from stmask.ops.streams import at_once


@dataclass(frozen=True, slots=True)
class HeadOutputs:
    """As in `DensePredictions`, levels joined; `towers` holds the tower's output of each level (B, C, h, w)."""

    box_deltas: Tensor
    class_logits: Tensor
    branches: LazyBranches
    centerness: Tensor | None
    towers: Pyramid


def make_anchor_shapes(
    kernels: Sequence[Sequence[int]],
    *,
    anchor_sizes: Sequence[Sequence[float]] | None = None,
    scales: Sequence[float] = (1.0,),
) -> tuple[AnchorShape, ...]:
    """Anchor shapes, kernel by kernel, and the scales within each.

    Args:
        kernels: (h, w) of each kernel.
        anchor_sizes: (h, w) of each kernel's anchor in cells; None is FCA: the anchor is the kernel's receptive field.
        scales: factors of the anchor sizes; three of them give nine anchors.
    """
    sizes = kernels if anchor_sizes is None else anchor_sizes
    if len(sizes) != len(kernels):
        raise ValueError(f"{len(kernels)} kernels need as many anchor_sizes, got {len(sizes)}")
    if not kernels or not scales:
        raise ValueError("a head needs at least one kernel and one scale")
    for kernel in kernels:
        if len(kernel) != 2 or not all(type(side) is int and side >= 1 for side in kernel):
            raise ValueError(f"a kernel is two positive integers (height, width), got {list(kernel)}")
    for size in sizes:
        if len(size) != 2:
            raise ValueError(f"an anchor size is two numbers (height, width), got {list(size)}")
        require_number(open_low=True, anchor_height=size[0], anchor_width=size[1])
    for scale in scales:
        require_number(open_low=True, scale=scale)
    return tuple(
        AnchorShape(kernel=(int(kernel[0]), int(kernel[1])), size=(float(size[0]) * scale, float(size[1]) * scale))
        for kernel, size in zip(kernels, sizes)
        for scale in scales
    )


class PredictionHead(nn.Module):
    """Boxes, classes, mask coefficients, embeddings and centre-ness of every anchor of every level.

    Args:
        num_classes: K, without the background.
        channels: channels of the levels, the tower and the branches.
        num_prototypes: D.
        embedding_dim: E; 0 for a head without the tracking branch, which uses the mask coefficients as embeddings.
        kernels: output kernels (h, w), FCA: one for each aspect ratio.
        anchor_sizes: anchors (h, w) in cells where they are not the kernels' receptive fields (no FCA).
        scales: factors of the anchors' sizes.
        align: feature calibration for boxes (FCB).
        centerness: whether the head has the centre-ness branch.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        channels: int = 256,
        num_prototypes: int = 32,
        embedding_dim: int = 128,
        kernels: Sequence[Sequence[int]] = ((3, 3), (3, 5), (5, 3)),
        anchor_sizes: Sequence[Sequence[float]] | None = None,
        scales: Sequence[float] = (1.0,),
        align: Calibration | None = None,
        centerness: bool = True,
    ) -> None:
        super().__init__()
        require_integer(num_classes=num_classes, channels=channels, num_prototypes=num_prototypes)
        require_integer(0, embedding_dim=embedding_dim)
        self.num_classes = num_classes
        self.anchor_shapes = make_anchor_shapes(kernels, anchor_sizes=anchor_sizes, scales=scales)
        self.tower = _convs(channels, 1)
        self.box_tower = _convs(channels, 2)
        self.class_tower = _convs(channels, 2)
        self.mask_tower = _convs(channels, 2)
        self.track_tower = _convs(channels, 2) if embedding_dim else None
        align = align or NoCalibration()
        self.box_outputs = _outputs(channels, 4, self.anchor_shapes)
        self.class_outputs = _outputs(channels, num_classes + 1, self.anchor_shapes, align=align, branch="class")
        self.mask_outputs = _outputs(channels, num_prototypes, self.anchor_shapes, align=align, branch="mask")
        track_shapes = self.anchor_shapes if embedding_dim else ()
        self.track_outputs = _outputs(channels, embedding_dim, track_shapes, align=align, branch="track")
        self.centerness_outputs = _outputs(channels, 1, self.anchor_shapes) if centerness else None

    def forward(self, pyramid: Pyramid) -> HeadOutputs:
        """Predicts for every anchor of every level."""
        levels = [pyramid[name] for name in pyramid]
        sheet = sheet_for(levels, kernels_of(self.box_outputs))
        if sheet is None:
            jobs = [partial(self._boxes, level) for level in levels]
            maps, deltas, centres = zip(*at_once(jobs, device=levels[0].device))
        else:
            maps, deltas, centres = zip(*self._boxes_on(sheet, levels))
        device = maps[0].device.type
        return HeadOutputs(
            box_deltas=torch.cat([anchors_last(level) for level in deltas], dim=1),
            class_logits=Branch(self.class_tower, self.class_outputs).everywhere(maps, deltas),
            branches=LazyBranches(
                Branch(self.mask_tower, self.mask_outputs),
                None if self.track_tower is None else Branch(self.track_tower, self.track_outputs),
                maps=maps,
                box_deltas=deltas,
                precision=(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)),
            ),
            centerness=None if self.centerness_outputs is None else torch.cat(centres, dim=1).squeeze(-1).tanh(),
            towers=Pyramid(dict(zip(pyramid, maps))),
        )

    def _boxes(self, level: Tensor) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Of one level: the tower's output, k maps (B, 4, h, w) of box deltas, and the centre-ness."""
        shared = self.tower(level)
        features = self.box_tower(shared)
        deltas = [conv(features) for conv in self.box_outputs]
        if self.centerness_outputs is None:
            return shared, deltas, None
        return shared, deltas, self.centerness_of([conv(features) for conv in self.centerness_outputs])

    def _boxes_on(self, sheet: Sheet, levels: Sequence[Tensor]) -> list[tuple[Tensor, list[Tensor], Tensor | None]]:
        """`_boxes` of each level, computed together."""
        joined = sheet.joined(levels)
        inside = sheet.inside(joined)
        shared = self.tower(joined, inside=inside)
        features = self.box_tower(shared, inside=inside)
        maps = sheet.maps(sheet.rows(shared))
        deltas = zip(*(sheet.maps(sheet.rows(conv(features))) for conv in self.box_outputs))
        if self.centerness_outputs is None:
            return [(one, list(of_level), None) for one, of_level in zip(maps, deltas)]
        centres = zip(*(sheet.maps(sheet.rows(conv(features))) for conv in self.centerness_outputs))
        return [(one, list(d), self.centerness_of(list(c))) for one, d, c in zip(maps, deltas, centres)]

    @staticmethod
    def centerness_of(maps: Sequence[Tensor]) -> Tensor:
        """One level's k maps (B, 1, h, w), one for each anchor shape, as (B, h * w * k, 1) in the anchors' order."""
        return anchors_last(maps)


def _convs(channels: int, count: int) -> Tower:
    return Tower(*(Conv2d(channels, channels, 3, padding=1, few=True) for _ in range(count)))


def _outputs(
    channels: int,
    out_channels: int,
    shapes: Sequence[AnchorShape],
    *,
    align: Calibration | None = None,
    branch: str = "",
) -> nn.ModuleList:
    if align is None or branch not in align.branches:
        return nn.ModuleList(SameConv2d(channels, out_channels, shape.kernel, few=True) for shape in shapes)
    return nn.ModuleList(
        CalibratedConv(channels, out_channels, anchor=shape, offsets=align.offsets(shape)) for shape in shapes
    )
