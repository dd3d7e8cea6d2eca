"""Masks drawn by filters that the network predicts, and how they are enlarged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.ops import masks as mask_ops
from stmask.structures import WHOLE, CroppedMasks, DenseMasks, Placement

FEATURE_STRIDE = 8
"""Pixels of a cell of the features that the filters look at."""
MASK_STRIDE = 4
"""Pixels of a cell of the masks."""
_REACH = 8  # strides of a point's level that are a coordinate of 1


def filter_count(channels: int) -> int:
    """The weights and biases of an instance's three layers: `channels` + 2 -> channels -> channels -> 1."""
    return (channels + 2) * channels + channels**2 + channels + 2 * channels + 1


def drawn(features: Tensor, filters: Tensor, *, xy_px: Tensor, strides: Tensor) -> Tensor:
    """Mask logits (N, 2 * h, 2 * w), at stride 4, of N instances of a frame.

    The layers of an instance see the features, and before them where each cell lies relative to the instance's point.
    As that is a linear function of the cell, the first layers of all instances are a single matrix product.

    Args:
        features: (C, h, w), at stride 8.
        filters: (N, P): the weights of the three layers, by output then input, then their biases.
        xy_px: (N, 2), the instances' points.
        strides: (N,), of the points' levels.
    """
    with torch.autocast(features.device.type, enabled=False):  # coordinates need all their digits
        return enlarged(_drawn(features, filters, xy_px=xy_px, strides=strides), FEATURE_STRIDE // MASK_STRIDE)


def _drawn(features: Tensor, filters: Tensor, *, xy_px: Tensor, strides: Tensor) -> Tensor:
    """As `drawn`, at stride 8."""
    (c, h, w), n = features.shape, len(filters)
    first, second, third, shift_1, shift_2, shift_3 = torch.split(filters, [(c + 2) * c, c * c, c, c, c, 1], dim=1)
    first = first.reshape(n, c, c + 2)
    # (point - cell) / (8 * stride), with cell = 8 * index + 4
    unit = (_REACH * strides).reshape(n, 1, 1)
    across = first[..., :2] / unit
    constant = (across * xy_px[:, None]).sum(dim=2) + shift_1  # (N, C)
    y, x = (
        torch.arange(size, device=features.device, dtype=features.dtype) * FEATURE_STRIDE + FEATURE_STRIDE / 2
        for size in (h, w)
    )
    cells = torch.stack([x.repeat(h), y.repeat_interleave(w), x.new_ones(h * w)])  # (3, h * w)
    weights = torch.cat([first[..., 2:], -across, constant[..., None]], dim=2)  # (N, C, C + 3)
    seen = torch.cat([features.flatten(1), cells])
    hidden = (weights.flatten(0, 1) @ seen).view(n, c, h * w).relu()
    hidden = torch.baddbmm(shift_2[..., None], second.reshape(n, c, c), hidden).relu()
    logits = torch.baddbmm(shift_3[..., None], third[:, None], hidden)
    return logits.view(n, h, w)


def enlarged(maps: Tensor, factor: int) -> Tensor:
    """Maps (..., h, w) enlarged bilinearly to (..., h * factor, w * factor), cell k's value at k * factor + factor / 2.

    That is where FCOS has its points. The border is continued.
    """
    if factor == 1:
        return maps
    h, w = maps.shape[-2:]
    flat = F.pad(maps.reshape(-1, 1, h, w), (1, 1, 1, 1), mode="replicate")
    size = ((h + 1) * factor + 1, (w + 1) * factor + 1)
    begin = factor - factor // 2
    large = F.interpolate(flat, size=size, mode="bilinear", align_corners=True)
    large = large[..., begin : begin + h * factor, begin : begin + w * factor]
    return large.reshape(*maps.shape[:-2], h * factor, w * factor)


@dataclass(frozen=True, slots=True)
class DrawnMasks(DenseMasks):
    """Maps (N, H / 4, W / 4) over the whole input, which `enlarged` brings to the input's size before anything else."""

    def at(self, size: tuple[int, int], *, placement: Placement = WHOLE) -> Tensor:
        """(N, height, width) bool at `size`: padding cut away, enlarged bilinearly, True above 0.5."""
        if self.probabilities.device.type != "cpu":
            return mask_ops.enlarge(placement.without_padding(enlarged(self.probabilities, MASK_STRIDE)), *size)
        out = torch.zeros(len(self), *size, dtype=torch.bool)
        for mask, (top, left, part) in zip(out, self._parts(size, placement), strict=True):
            mask[top : top + part.shape[0], left : left + part.shape[1]] = part
        return out

    def cropped_at(self, size: tuple[int, int], *, placement: Placement = WHOLE) -> CroppedMasks:
        """What `at` gives on a CPU, in parts."""
        parts = self._parts(size, placement)
        corners = tuple((top, left) for top, left, _ in parts)
        return CroppedMasks(size, corners, tuple(part.numpy() for _, _, part in parts))

    def _parts(self, size: tuple[int, int], placement: Placement) -> list[tuple[int, int, Tensor]]:
        """Row and column where a part of each mask begins, outside of which it is False, and that part, on the CPU.

        A pixel above 0.5 lies within a cell of one above 0.5, so only these cells and their neighbours matter.
        """
        probabilities = self.probabilities.cpu()
        h, w = probabilities.shape[1:]
        found = []
        for mask in probabilities:
            rows, columns = ((mask > 0.5).any(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
            canvas = mask.new_zeros(1, h * MASK_STRIDE, w * MASK_STRIDE)
            if rows:
                (top, bottom), (left, right) = (
                    (max(0, cells[0] - 1), min(count, cells[-1] + 2)) for cells, count in ((rows, h), (columns, w))
                )
                whole = tuple(slice(a * MASK_STRIDE, b * MASK_STRIDE) for a, b in ((top, bottom), (left, right)))
                canvas[:, whole[0], whole[1]] = enlarged(mask[top:bottom, left:right], MASK_STRIDE)
            found += mask_ops.enlarged_parts(placement.without_padding(canvas), *size)
        return found
