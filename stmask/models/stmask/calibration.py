"""Feature calibration for boxes (FCB): where a branch samples, given the regressed boxes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stmask.models.layers.conv import SameConv2d
from stmask.models.layers.initialise import StartsAtZero
from stmask.ops.alignment import aligned_offsets
from stmask.ops.deform import deform_conv, deform_conv_rows
from stmask.ops.sheet import Sheet

BRANCHES = ("class", "mask", "track")


@dataclass(frozen=True, slots=True)
class AnchorShape:
    """An anchor of every cell: the kernel (kh, kw) that reads its features, and its size (h, w) in cells."""

    kernel: tuple[int, int]
    size: tuple[float, float]


class Offsets(nn.Module):
    """Offsets (B, 2 * kh * kw, h, w) of one anchor shape from its box regression (B, 4, h, w)."""

    def __init__(self, anchor: AnchorShape) -> None:
        super().__init__()
        self.anchor = anchor

    @property
    def key(self) -> Hashable:
        """Equal for modules that give the same offsets: of one kind and anchor shape, where nothing is learned."""
        return (type(self), self.anchor) if next(self.parameters(), None) is None else id(self)


class AdaptiveOffsets(Offsets):
    """Equation 5: offsets as a learned linear function of the box regression, one 1x1 convolution without bias."""

    def __init__(self, anchor: AnchorShape) -> None:
        super().__init__(anchor)
        kh, kw = anchor.kernel
        self.conv = nn.Conv2d(4, 2 * kh * kw, 1, bias=False)

    def forward(self, box_deltas: Tensor) -> Tensor:
        offsets: Tensor = self.conv(box_deltas)
        return offsets


class ZeroStartOffsets(AdaptiveOffsets, StartsAtZero):
    """Equation 5, of a network that begins with plain convolutions."""


STARTS: Mapping[str, type[AdaptiveOffsets]] = {"drawn": AdaptiveOffsets, "zero": ZeroStartOffsets}
"""The values of `AdaptiveCalibration.start`."""


class AlignedOffsets(Offsets):
    """Equations 6 to 8: offsets that spread the taps over the regressed box; nothing is learned."""

    def forward(self, box_deltas: Tensor) -> Tensor:
        return aligned_offsets(box_deltas, self.anchor.kernel, anchor_shape=self.anchor.size)


class NoOffsets(Offsets):
    """Zeros: each tap reads its own cell."""

    def forward(self, box_deltas: Tensor) -> Tensor:
        (kh, kw), (b, _, h, w) = self.anchor.kernel, box_deltas.shape
        return box_deltas.new_zeros(b, 2 * kh * kw, h, w)


class Calibration:
    """Which branches are calibrated, and by which offsets. Subclasses give the offsets.

    Args:
        branches: any subset of "class", "mask", "track".
    """

    offsets: type[Offsets]

    def __init__(self, *, branches: Sequence[str]) -> None:
        unknown = [name for name in branches if name not in BRANCHES]
        if unknown:
            raise ValueError(f"FCB branches are {', '.join(BRANCHES)}; got {unknown[0]!r}")
        self.branches = frozenset(branches)


class NoCalibration(Calibration):
    """Every branch reads the features under the anchor."""

    def __init__(self) -> None:
        super().__init__(branches=())


class AdaptiveCalibration(Calibration):
    """FCB(ada). The paper's default is all three branches, the released models' is "class" only.

    Args:
        branches: as of `Calibration`.
        start: what the offsets are before training: "drawn", as in the authors' trainings, or "zero".
    """

    def __init__(self, *, branches: Sequence[str] = BRANCHES, start: str = "drawn") -> None:
        super().__init__(branches=branches)
        if start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(STARTS)}, got {start!r}")
        self.offsets = STARTS[start]


class AlignedCalibration(Calibration):
    """FCB(ali). The paper's default is "mask" and "track", the released models' is "class" only."""

    offsets = AlignedOffsets

    def __init__(self, *, branches: Sequence[str] = ("mask", "track")) -> None:
        super().__init__(branches=branches)


class LayerOnly(Calibration):
    """The layer that FCB adds to a branch, without calibration: a control that tells what of FCB's effect is depth."""

    offsets = NoOffsets

    def __init__(self, *, branches: Sequence[str] = ("mask", "track")) -> None:
        super().__init__(branches=branches)


class CalibratedConv(nn.Module):
    """The output of one branch for one anchor shape with FCB: deformable convolution, ReLU, output convolution."""

    def __init__(self, channels: int, out_channels: int, *, anchor: AnchorShape, offsets: Offsets) -> None:
        super().__init__()
        self.offsets = offsets
        self.adapt = nn.Parameter(torch.empty(channels, channels, *anchor.kernel))
        self.output = SameConv2d(channels, out_channels, anchor.kernel, few=True)

    def forward(self, x: Tensor, box_deltas: Tensor) -> Tensor:
        """x (B, C, h, w) and the box regression (B, 4, h, w) of the same anchor shape, which gets no gradient here."""
        calibrated = deform_conv(x, self.offsets(box_deltas.detach()), self.adapt, relu=True)
        out: Tensor = self.output(calibrated)
        return out

    def on_sheet(self, rows: Tensor, box_deltas: Tensor, sheet: Sheet) -> Tensor:
        """`forward` for all levels at once: their cells (B, P, C) and box regression (B, P, 4) to (B, P, out)."""
        offsets = self.offsets_at(box_deltas.flatten(0, 1)).view(*box_deltas.shape[:2], -1)
        calibrated = deform_conv_rows(rows, offsets, self.adapt, sizes=sheet.sizes, relu=True)
        out: Tensor = self.output(sheet.joined(sheet.maps(calibrated)))
        return sheet.rows(out)

    def offsets_at(self, box_deltas: Tensor) -> Tensor:
        """Offsets (N, 2 * kh * kw) of N cells from their box regression (N, 4)."""
        offsets: Tensor = self.offsets(box_deltas.detach()[:, :, None, None])  # as of N maps of one cell
        return offsets.flatten(1)
