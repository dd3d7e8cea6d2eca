"""Instance masks from prototypes and coefficients, cropping, overlap."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Enlarged in groups, a hundred masks at full HD need no gigabytes.
_PIXELS_AT_ONCE = 2**25
# Up to this sum of height and width PyTorch interpolates another way, with different rounding.
_SMALL = 128


def combine(prototypes: Tensor, mask_coeffs: Tensor) -> Tensor:
    """Equation 9 before its sigmoid: logits (..., N, h, w) from prototypes (..., h, w, D) and coefficients (..., N, D)
    before tanh."""
    h, w = prototypes.shape[-3:-1]
    logits = mask_coeffs.tanh() @ prototypes.flatten(-3, -2).mT
    return logits.view(*logits.shape[:-1], h, w)


def combine_frames(prototypes: Tensor, mask_coeffs: Tensor, frames: Tensor) -> Tensor:
    """`combine` for instances of several frames: logits (P, h, w) from prototypes (F, h, w, D), coefficients (P, D) and
    the instances' frames (P,) in ascending order."""
    counts = torch.bincount(frames, minlength=len(prototypes)).tolist()
    parts = [combine(*part) for part in zip(prototypes, torch.split(mask_coeffs, counts), strict=True)]
    return torch.cat(parts)


def box_windows(boxes: Tensor, height: int, width: int, *, margin: float) -> Tensor:
    """Which cells of a height x width map lie in each box: (..., 4) xyxy in [0, 1] gives (..., height, width) bool.

    A cell with index i is kept when x1 * width - margin <= i < x2 * width + margin; likewise for rows.
    """
    x1, y1, x2, y2 = (boxes[..., i, None] for i in range(4))
    columns = torch.arange(width, device=boxes.device, dtype=boxes.dtype)
    rows = torch.arange(height, device=boxes.device, dtype=boxes.dtype)
    inside_x = (columns >= x1 * width - margin) & (columns < x2 * width + margin)
    inside_y = (rows >= y1 * height - margin) & (rows < y2 * height + margin)
    return inside_y[..., :, None] & inside_x[..., None, :]


def crop(masks: Tensor, boxes: Tensor, *, margin: float = 1.0) -> Tensor:
    """Masks (..., h, w) set to zero outside their boxes (..., 4), which are grown by `margin` cells on each side."""
    return masks * box_windows(boxes, masks.shape[-2], masks.shape[-1], margin=margin)


def instance_masks(prototypes: Tensor, mask_coeffs: Tensor, boxes: Tensor) -> Tensor:
    """Equation 9: probabilities (..., N, h, w) from prototypes (..., h, w, D), coefficients (..., N, D), cropped by
    boxes (..., N, 4)."""
    return crop(combine(prototypes, mask_coeffs).sigmoid(), boxes)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of every pair of boolean masks: (..., N, h, w) and (..., M, h, w) give (..., N, M); 0 where the union is
    empty."""
    x, y = a.flatten(-2).float(), b.flatten(-2).float()
    overlap = x @ y.mT
    union = x.sum(-1)[..., :, None] + y.sum(-1)[..., None, :] - overlap
    return overlap / union.clamp(min=1)


def enlarge(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks (N, h, w) of probabilities at another size: bilinear, then True above 0.5: (N, height, width) bool."""
    out = torch.zeros(len(masks), height, width, dtype=torch.bool, device=masks.device)
    if masks.device.type == "cpu" and _by_parts(masks, height, width):
        for mask, (top, left, part) in zip(out, enlarged_parts(masks, height, width), strict=True):
            mask[top : top + part.shape[0], left : left + part.shape[1]] = part
        return out
    at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    for start in range(0, len(masks), at_once):
        stop = start + at_once
        out[start:stop] = _bilinear(masks[start:stop], height, width) > 0.5
    return out


def enlarged_parts(masks: Tensor, height: int, width: int) -> list[tuple[int, int, Tensor]]:
    """As `enlarge`, the same to the bit, but of each mask only a part outside of which it is False.

    Masks are zero outside of their boxes, and large videos have mostly small objects: most of the time and memory that
    whole masks take is saved. The work is done on the CPU.

    Returns:
        For each mask the row and column where its part begins, and the part (rows, columns) bool; either may be 0.
    """
    masks = masks.cpu()
    if not _by_parts(masks, height, width):
        return [(0, 0, mask) for mask in enlarge(masks, height, width)]
    columns = _used(masks.any(dim=1))
    rows = _used(masks.any(dim=2))
    return [_enlarged_part(mask, r, c, height, width) for mask, r, c in zip(masks, rows, columns, strict=True)]


def _by_parts(masks: Tensor, height: int, width: int) -> bool:
    return height > max(masks.shape[1], _SMALL) and width > max(masks.shape[2], _SMALL)


def _used(cells: Tensor) -> list[tuple[int, int]]:
    """Of each row of cells (N, n) bool the first that is True and the one after the last; (0, 0) if there is none."""
    n = cells.shape[1]
    first, last = cells.int().argmax(dim=1), n - cells.flip(1).int().argmax(dim=1)
    last = torch.where(cells.any(dim=1), last, 0)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _enlarged_part(
    mask: Tensor, rows: tuple[int, int], columns: tuple[int, int], height: int, width: int
) -> tuple[int, int, Tensor]:
    """Of a mask (h, w) that is zero outside of some rows and columns: across, then down in the columns that matter.

    Bilinear interpolation is separable, so each column and each row can be computed by itself.
    """
    if rows[0] == rows[1]:
        return 0, 0, mask.new_zeros((0, 0), dtype=torch.bool)
    h, w = mask.shape
    left, right = _reach(columns, w, width)
    top, bottom = _reach(rows, h, height)
    across = mask.new_zeros((1, h, right - left))
    used = mask[None, slice(*rows)]
    across[:, slice(*rows)] = _bilinear(used, used.shape[1], width)[:, :, left:right]
    return top, left, _bilinear(across, height, right - left)[0, top:bottom] > 0.5


def _reach(cells: tuple[int, int], before: int, after: int) -> tuple[int, int]:
    """Where cells start .. stop - 1 of `before` in a row have an influence when there are `after` of them."""
    start, stop = cells
    return max(0, int((start - 0.5) * after / before) - 1), min(after, int((stop + 0.5) * after / before) + 2)


def _bilinear(masks: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(masks[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
