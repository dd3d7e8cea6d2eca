"""Anchors of a network on a frame: their boxes, and where the convolutions that read them sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from stmask.models.stmask import DensePredictions, STMask
from stmask.models.stmask.calibration import AnchorShape, CalibratedConv
from stmask.ops.anchors import level_anchors
from stmask.ops.boxes import decode, encode, iou, to_corners
from stmask.ops.deform import sampling_points
from stmask.plots.frames import Frame

PROBES = 4  # random inputs of `receptive_field`


@dataclass(frozen=True, slots=True)
class AnchorAt:
    """One anchor of one cell, and the box that is regressed from it.

    Attributes:
        index: among all anchors of the network.
        level: of the pyramid.
        map_size: (h, w) of the level in cells.
        cell: (row, column).
        shape: its kernel, and its size in cells.
        anchor: (4,) cxcywh in [0, 1] of the padded input.
        box_deltas: (4,), as the network predicts them.
    """

    index: int
    level: str
    map_size: tuple[int, int]
    cell: tuple[int, int]
    shape: AnchorShape
    anchor: Tensor
    box_deltas: Tensor

    @property
    def box(self) -> Tensor:
        """(4,) xyxy in [0, 1] of the padded input: equation 2."""
        return decode(self.box_deltas, self.anchor)

    def predicted(self, predictions: DensePredictions, frame: int = 0) -> AnchorAt:
        """The same anchor with the box that a network regressed."""
        return replace(self, box_deltas=predictions.box_deltas[frame, self.index].detach())


@torch.inference_mode()
def level_sizes(model: STMask, frame: Frame) -> dict[str, tuple[int, int]]:
    """(h, w) in cells of every level of a network's pyramid for a frame."""
    pyramid = model.fpn(model.backbone(frame.inputs[None]))
    return {name: (pyramid[name].shape[2], pyramid[name].shape[3]) for name in pyramid}


def cell_under(box: Tensor, map_size: tuple[int, int]) -> tuple[int, int]:
    """(row, column) of the cell in which the centre of a box, (4,) xyxy in [0, 1], lies."""
    x, y = ((box[:2] + box[2:]) / 2).clamp(0, 1 - 1e-6).tolist()
    return int(y * map_size[0]), int(x * map_size[1])


def positives(model: STMask, frame: Frame, *, object_: int = 0, min_iou: float = 0.5) -> list[AnchorAt]:
    """For each anchor shape the anchor that fits an object of the frame least among those that still learn it.

    Those are the anchors whose IoU with the object's box is at least `min_iou`; where there is none, it is the best.
    Its regression is the right one: it decodes to the object's box.
    """
    shapes, box = model.head.anchor_shapes, frame.boxes[object_]
    places = []  # of every anchor, in the order of the network
    anchors = []
    for name, (h, w) in level_sizes(model, frame).items():
        anchors.append(level_anchors(h, w, [shape.size for shape in shapes]))
        places += [
            (name, (h, w), (row, column), k) for row in range(h) for column in range(w) for k in range(len(shapes))
        ]
    table = torch.cat(anchors)
    overlap = iou(to_corners(table), box[None])[:, 0]
    kinds = torch.tensor([k for *_, k in places])
    chosen = []
    for kind, shape in enumerate(shapes):
        of_kind = torch.where(kinds == kind, overlap, -torch.inf)
        least = torch.where(of_kind >= min_iou, of_kind, torch.inf)
        index = int(least.argmin() if least.isfinite().any() else of_kind.argmax())
        level, map_size, cell, _ = places[index]
        chosen.append(AnchorAt(index, level, map_size, cell, shape, table[index], encode(box, table[index])))
    return chosen


def points(at: AnchorAt, offsets: nn.Module | None) -> Tensor:
    """Where the kernel of an anchor samples: (taps, 2), (x, y) in [0, 1] of the padded input. None: no calibration."""
    kh, kw = at.shape.kernel
    with torch.inference_mode():
        deltas = at.box_deltas.view(1, 4, 1, 1)
        shift = deltas.new_zeros(1, 2 * kh * kw, 1, 1) if offsets is None else offsets(deltas)
        around = sampling_points(shift, at.shape.kernel)[0, :, 0, 0]  # (taps, 2), (y, x) in cells from the anchor's own
    cells = around + around.new_tensor(at.cell) + 0.5
    return cells.flip(-1) / cells.new_tensor(at.map_size).flip(-1)


def learned_offsets(model: STMask, branch: str = "class") -> list[nn.Module]:
    """The offset convolutions of FCB(ada) in a network, by anchor shape; of another network, none.

    Args:
        model: any.
        branch: "class", "mask" or "track".
    """
    outputs = getattr(model.head, f"{branch}_outputs")
    return [conv.offsets for conv in outputs if isinstance(conv, CalibratedConv)]


def kernel_box(at_cell: tuple[int, int], kernel: tuple[int, int], map_size: tuple[int, int]) -> Tensor:
    """(4,) xyxy in [0, 1]: the cells that a plain kernel reads at a cell."""
    cells = sampling_points(torch.zeros(1, 2 * kernel[0] * kernel[1], 1, 1), kernel)[0, :, 0, 0] + torch.tensor(at_cell)
    low, high = cells.amin(0), cells.amax(0) + 1
    return torch.cat([low.flip(0), high.flip(0)]) / torch.tensor(map_size).flip(0).repeat(2)


def receptive_field(
    layers: Callable[[Tensor], Tensor], *, channels: int, map_size: tuple[int, int], cell: tuple[int, int]
) -> Tensor:
    """How much the output of some layers at a cell depends on each cell of their input: (h, w), at most 1.

    The mean size of the gradient over random inputs, so that no ReLU hides a part of it.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(PROBES, channels, *map_size, generator=generator).requires_grad_()
    (gradient,) = torch.autograd.grad(layers(x)[:, :, cell[0], cell[1]].abs().sum(), x)
    strength = gradient.abs().mean(dim=(0, 1))
    return strength / strength.max().clamp(min=1e-12)
