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
    """Equation 9 before its sigmoid: logits (N, h, w) from prototypes (h, w, D) and coefficients (N, D) before tanh."""
    h, w, d = prototypes.shape
    return (mask_coeffs.tanh() @ prototypes.reshape(h * w, d).t()).view(-1, h, w)


def box_windows(boxes: Tensor, height: int, width: int, *, margin: float) -> Tensor:
    """Which cells of a height x width map lie in each box: (N, 4) xyxy in [0, 1] gives (N, height, width) bool.

    A cell with index i is kept when x1 * width - margin <= i < x2 * width + margin; likewise for rows.
    """
    x1, y1, x2, y2 = (boxes[:, None, i] for i in range(4))
    columns = torch.arange(width, device=boxes.device, dtype=boxes.dtype)[None]
    rows = torch.arange(height, device=boxes.device, dtype=boxes.dtype)[None]
    inside_x = (columns >= x1 * width - margin) & (columns < x2 * width + margin)
    inside_y = (rows >= y1 * height - margin) & (rows < y2 * height + margin)
    return inside_y[:, :, None] & inside_x[:, None, :]


def crop(masks: Tensor, boxes: Tensor, *, margin: float = 1.0) -> Tensor:
    """Masks (N, h, w) set to zero outside their boxes (N, 4), which are grown by `margin` cells on each side."""
    return masks * box_windows(boxes, masks.shape[1], masks.shape[2], margin=margin)


def instance_masks(prototypes: Tensor, mask_coeffs: Tensor, boxes: Tensor) -> Tensor:
    """Equation 9: probabilities (N, h, w) from prototypes (h, w, D), coefficients (N, D), cropped by boxes (N, 4)."""
    return crop(combine(prototypes, mask_coeffs).sigmoid(), boxes)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of every pair of boolean masks: (N, h, w) and (M, h, w) give (N, M); 0 where the union is empty."""
    x, y = a.flatten(1).float(), b.flatten(1).float()
    overlap = x @ y.t()
    union = x.sum(1)[:, None] + y.sum(1)[None] - overlap
    return overlap / union.clamp(min=1)


def enlarge(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks (N, h, w) of probabilities at another size: bilinear, then True above 0.5: (N, height, width) bool.

    Masks are zero outside of their boxes; on the CPU, where it takes most of the time of a large video, the work is
    done for the columns of the box only. The result is the same to the bit.
    """
    h, w = masks.shape[1:]
    out = torch.zeros(len(masks), height, width, dtype=torch.bool, device=masks.device)
    if masks.device.type == "cpu" and height > max(h, _SMALL) and width > max(w, _SMALL):
        for mask, enlarged in zip(masks, out):
            _enlarge_columns(mask, enlarged)
        return out
    at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    for start in range(0, len(masks), at_once):
        stop = start + at_once
        out[start:stop] = _bilinear(masks[start:stop], height, width) > 0.5
    return out


def _enlarge_columns(mask: Tensor, out: Tensor) -> None:
    """Fills `out` (height, width) where `mask` (h, w) is not zero: across, then down in the columns that matter.

    Bilinear interpolation is separable, so each column and each row can be computed by itself.
    """
    used = mask.any(dim=0).nonzero().flatten()
    if len(used) == 0:
        return
    (h, w), (height, width) = mask.shape, out.shape
    start = max(0, int((int(used[0]) - 0.5) * width / w) - 1)
    stop = min(width, int((int(used[-1]) + 1.5) * width / w) + 2)
    across = _bilinear(mask[None], h, width)[:, :, start:stop]
    out[:, start:stop] = _bilinear(across, height, stop - start)[0] > 0.5


def _bilinear(masks: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(masks[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
