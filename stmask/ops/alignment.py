"""Where FCB samples: offsets of a deformable convolution from box regression (equations 6 to 8)."""

from __future__ import annotations

import torch
from torch import Tensor

from stmask.ops.boxes import BOX_VARIANCES
from stmask.ops.constants import constant
from stmask.ops.deform import same_padding


def aligned_offsets(box_deltas: Tensor, kernel: tuple[int, int], *, anchor_shape: tuple[float, float]) -> Tensor:
    """Offsets that spread the taps of a kernel evenly over the regressed box: RoIAlign with one sample in each bin.

    For an anchor of the kernel's own size this is dg_x = kw t_x + (exp(t_w) - 1) R_w and likewise for y. An anchor of
    another size (several scales, or a kernel that does not follow the anchor) only changes the box to be covered.

    Args:
        box_deltas: (B, 4, h, w) as the network predicts them, divided by the variances.
        kernel: (kh, kw).
        anchor_shape: (h, w) of the anchor in cells.

    Returns:
        (B, 2 * kh * kw, h, w), (dy, dx) for each tap in row order, in cells.
    """
    b, _, h, w = box_deltas.shape
    kh, kw = kernel
    anchor_h, anchor_w = anchor_shape
    left, _, top, _ = same_padding(kernel)
    t = box_deltas * constant(BOX_VARIANCES, box_deltas).view(4, 1, 1)
    rows = torch.arange(kh, device=t.device, dtype=t.dtype)
    columns = torch.arange(kw, device=t.device, dtype=t.dtype)
    # position of each bin's centre in the box, in units of the kernel, relative to the box's centre
    bin_y = ((rows - (kh - 1) / 2) * (anchor_h / kh)).view(1, kh, 1, 1)
    bin_x = ((columns - (kw - 1) / 2) * (anchor_w / kw)).view(1, kw, 1, 1)
    wanted_y = anchor_h * t[:, 1, None] + t[:, 3, None].exp() * bin_y  # (B, kh, h, w)
    wanted_x = anchor_w * t[:, 0, None] + t[:, 2, None].exp() * bin_x  # (B, kw, h, w)
    dy = wanted_y - (rows - top).view(1, kh, 1, 1)
    dx = wanted_x - (columns - left).view(1, kw, 1, 1)
    dy = dy[:, :, None].expand(b, kh, kw, h, w)
    dx = dx[:, None].expand(b, kh, kw, h, w)
    return torch.stack([dy, dx], dim=3).reshape(b, 2 * kh * kw, h, w)
