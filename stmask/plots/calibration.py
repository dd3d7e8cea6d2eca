"""Fig. 1, 3 and 4 of the paper, drawn from the code: what is read for an anchor, and what should be for its box."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from stmask.models.stmask import PredictionHead
from stmask.models.stmask.calibration import (
    AlignedCalibration,
    AlignedOffsets,
    AnchorShape,
    CalibratedConv,
    Calibration,
    NoCalibration,
)
from stmask.ops.anchors import level_anchors
from stmask.ops.boxes import iou, to_corners
from stmask.ops.deform import deform_conv
from stmask.plots import style
from stmask.plots.anchors import AnchorAt, kernel_box, points, receptive_field
from stmask.plots.frames import Frame, show_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ASPECT = 0.75  # height : width of a panel
_CHANNELS = 8  # of layers with random weights


def kernels(
    frame: Frame, heads: Mapping[str, PredictionHead], *, map_size: tuple[int, int], cell: tuple[int, int]
) -> Figure:
    """Fig. 1 (a), (b) and Fig. 3: for each head a row, for each kernel the cells it reads and the anchors it serves."""
    rows = {name: _by_kernel(head.anchor_shapes) for name, head in heads.items()}
    columns = max(len(groups) for groups in rows.values())
    figure, axes = style.image_grid(len(rows), columns, aspect=0.72, width=9.0)
    for row, (name, groups) in zip(axes, rows.items(), strict=True):
        style.row_label(row[0], name)
        for axis, shapes in zip(row, groups):
            _kernel_panel(axis, frame, shapes, map_size, cell)
    return figure


def _by_kernel(shapes: Sequence[AnchorShape]) -> list[list[AnchorShape]]:
    """Anchor shapes in groups that share an output convolution's kernel, if their areas differ; else each by itself."""
    groups: list[list[AnchorShape]] = []
    for shape in shapes:
        if groups and groups[-1][0].kernel == shape.kernel and np.isclose(_aspect(groups[-1][0]), _aspect(shape)):
            groups[-1].append(shape)
        else:
            groups.append([shape])
    return groups


def _aspect(shape: AnchorShape) -> float:
    return shape.size[0] / shape.size[1]


def _kernel_panel(
    axis: Axes, frame: Frame, shapes: Sequence[AnchorShape], map_size: tuple[int, int], cell: tuple[int, int]
) -> None:
    kernel = shapes[0].kernel
    read = kernel_box(cell, kernel, map_size)
    anchors = level_anchors(*map_size, [shape.size for shape in shapes])
    here = to_corners(anchors.view(*map_size, len(shapes), 4)[cell])
    show_frame(axis, frame, fade=0.25)
    _grid(axis, frame, map_size)
    style.outline(
        axis, read * frame.unit, style.INK, fill=True, facecolor=style.YELLOW, alpha=0.55, linewidth=0, zorder=1
    )
    for anchor in here:
        style.outline(axis, anchor * frame.unit, style.PURPLE)
    _dots(axis, _cell_centre(cell, map_size) * frame.unit[:2], style.INK)
    overlaps = ", ".join(f"{value:.2f}" for value in iou(here, read[None])[:, 0].tolist())
    style.title(axis, f"{kernel[0]}x{kernel[1]} kernel, IoU {overlaps}")
    _zoom(axis, _cell_centre(cell, map_size) * frame.unit[:2], frame, map_size, cells=(8.0, 11.0))


def receptive_fields(frame: Frame, anchors: Sequence[AnchorAt]) -> Figure:
    """Which features the mask coefficients of each anchor depend on, measured by gradients of layers of random weights.

    Columns: the output convolution of a plain branch; the deformable convolution of FCB(ali); the plain branch from
    the pyramid on, its towers included.
    """
    columns = ("output convolution", "FCB(ali): deformable convolution", "output convolution and towers")
    figure, axes = style.image_grid(len(anchors), len(columns), aspect=_ASPECT, title=0.1)
    plain, aligned = _random_head(anchors, NoCalibration()), _random_head(anchors, AlignedCalibration())
    for row, at, output, calibrated in zip(axes, anchors, plain.mask_outputs, aligned.mask_outputs, strict=True):
        assert isinstance(calibrated, CalibratedConv)
        style.row_label(row[0], _name(at))
        ways: tuple[Callable[[Tensor], Tensor], ...] = (
            output,
            partial(_deformed, calibrated, at),
            nn.Sequential(plain.tower, plain.mask_tower, output),
        )
        for axis, layers in zip(row, ways, strict=True):
            field = receptive_field(layers, channels=_CHANNELS, map_size=at.map_size, cell=at.cell)
            _field_panel(axis, frame, at, field)
    for axis, text in zip(axes[0], columns, strict=True):
        style.title(axis, text)
    return figure


def _random_head(anchors: Sequence[AnchorAt], align: Calibration) -> PredictionHead:
    shapes = [at.shape for at in anchors]
    kernels, sizes = [shape.kernel for shape in shapes], [shape.size for shape in shapes]
    head = PredictionHead(
        num_classes=1, channels=_CHANNELS, num_prototypes=4, kernels=kernels, anchor_sizes=sizes, align=align
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return head


def _deformed(conv: CalibratedConv, at: AnchorAt, x: Tensor) -> Tensor:
    """The convolution of `conv` that samples on the box, as if every cell had the regression of this one."""
    deltas = at.box_deltas.view(1, 4, 1, 1).expand(len(x), 4, *at.map_size)
    return deform_conv(x, conv.offsets(deltas), conv.adapt)


def _field_panel(axis: Axes, frame: Frame, at: AnchorAt, field: Tensor) -> None:
    height, width = frame.input_size
    paint = np.zeros((*at.map_size, 4))
    paint[..., :3] = [int(style.YELLOW[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    paint[..., 3] = 0.9 * field.sqrt().numpy()
    show_frame(axis, frame, fade=0.25)
    axis.imshow(paint, extent=(0, width, height, 0), interpolation="nearest")
    _grid(axis, frame, at.map_size)
    _boxes(axis, frame, at)


def _boxes(axis: Axes, frame: Frame, at: AnchorAt) -> None:
    """The anchor, dashed, and its box, in a window around both."""
    anchor, box = to_corners(at.anchor) * frame.unit, at.box * frame.unit
    style.outline(axis, anchor, style.PURPLE, linestyle="--")
    style.outline(axis, box, style.GREEN)
    together = torch.cat([torch.minimum(anchor, box)[:2], torch.maximum(anchor, box)[2:]])
    _zoom_on(axis, together, aspect=_ASPECT)


def _name(at: AnchorAt) -> str:
    return f"{at.shape.kernel[0]}x{at.shape.kernel[1]} on {at.level}"


def sampling(frame: Frame, anchors: Sequence[AnchorAt], *, learned: Sequence[nn.Module]) -> Figure:
    """Fig. 1 (c), (d): for each anchor a row, where none, ada (if there is one) and ali sample.

    Args:
        frame: to draw on.
        anchors: with their regressed boxes.
        learned: offsets of FCB(ada) for each of them, or nothing.
    """
    names = ["none", *(["ada"] if learned else []), "ali"]
    figure, axes = style.image_grid(len(anchors), len(names), aspect=_ASPECT, width=3.6 * len(names), title=0.1)
    for row, at in enumerate(anchors):
        ways = {"none": None, "ali": AlignedOffsets(at.shape), **({"ada": learned[row]} if learned else {})}
        style.row_label(axes[row, 0], _name(at))
        for axis, name in zip(axes[row], names, strict=True):
            _sampling_panel(axis, frame, at, points(at, ways[name]))
            if name == "ali":
                _bins(axis, frame, at)
            if row == 0:
                style.title(axis, name)
    return figure


def _sampling_panel(axis: Axes, frame: Frame, at: AnchorAt, where: Tensor) -> None:
    show_frame(axis, frame, fade=0.25)
    _boxes(axis, frame, at)
    _dots(axis, where * frame.unit[:2], style.BLUE)


def derivation(frame: Frame, at: AnchorAt) -> Figure:
    """Fig. 4: the grid on the anchor goes to the regressed box in two steps, translation (a) and scale (b)."""
    ali = AlignedOffsets(at.shape)
    still = points(at, None)
    shifted = points(replace(at, box_deltas=at.box_deltas * torch.tensor([1.0, 1.0, 0.0, 0.0])), ali)
    final = points(at, ali)
    figure, axes = style.image_grid(1, 3, aspect=_ASPECT)
    steps = (
        ("the kernel's grid on its anchor", None, still),
        ("(a) translation: $k_w t_x$, $k_h t_y$", still, shifted),
        ("(b) scale: $(e^{t_w} - 1) R_w$, $(e^{t_h} - 1) R_h$", shifted, final),
    )
    for axis, (text, before, after) in zip(axes[0], steps, strict=True):
        _sampling_panel(axis, frame, at, after)
        style.title(axis, text)
        if before is not None:
            _arrows(axis, before * frame.unit[:2], after * frame.unit[:2])
    return figure


def _arrows(axis: Axes, start: Tensor, end: Tensor) -> None:
    x, y = start.unbind(1)
    u, v = (end - start).unbind(1)
    axis.quiver(x, y, u, v, angles="xy", scale_units="xy", scale=1, color=style.RED, width=0.006, zorder=2)
    _dots(axis, start, "white", size=14)


def _grid(axis: Axes, frame: Frame, map_size: tuple[int, int]) -> None:
    """The cells of a level."""
    height, width = frame.input_size
    axis.vlines(np.arange(map_size[1] + 1) * width / map_size[1], 0, height, color="white", linewidth=0.5)
    axis.hlines(np.arange(map_size[0] + 1) * height / map_size[0], 0, width, color="white", linewidth=0.5)


def _bins(axis: Axes, frame: Frame, at: AnchorAt) -> None:
    """The regressed box cut into as many bins as the kernel has taps."""
    x1, y1, x2, y2 = (at.box * frame.unit).tolist()
    kh, kw = at.shape.kernel
    axis.vlines(np.linspace(x1, x2, kw + 1)[1:-1], y1, y2, color=style.GREEN, linewidth=0.8)
    axis.hlines(np.linspace(y1, y2, kh + 1)[1:-1], x1, x2, color=style.GREEN, linewidth=0.8)


def _dots(axis: Axes, where: Tensor, colour: str, *, size: float = 36) -> None:
    x, y = where.reshape(-1, 2).unbind(1)
    axis.scatter(x, y, s=size, color=colour, edgecolors="white", linewidths=0.9, zorder=3)


def _cell_centre(cell: tuple[int, int], map_size: tuple[int, int]) -> Tensor:
    return (torch.tensor(cell) + 0.5).flip(0) / torch.tensor(map_size).flip(0)


def _zoom(axis: Axes, centre: Tensor, frame: Frame, map_size: tuple[int, int], *, cells: tuple[float, float]) -> None:
    """Shows so many cells (height, width) around a point."""
    step = torch.tensor([frame.input_size[1] / map_size[1], frame.input_size[0] / map_size[0]])
    half = step * torch.tensor(cells).flip(0) / 2
    (x1, y1), (x2, y2) = (centre - half).tolist(), (centre + half).tolist()
    axis.set(xlim=(x1, x2), ylim=(y2, y1))


def _zoom_on(axis: Axes, box: Tensor, *, aspect: float, margin: float = 1.35) -> None:
    """Shows a box, xyxy in pixels, and some room around it, in a window of height : width = `aspect`."""
    centre, size = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * margin
    width = max(float(size[0]), float(size[1]) / aspect)
    (x, y), height = centre.tolist(), width * aspect
    axis.set(xlim=(x - width / 2, x + width / 2), ylim=(y + height / 2, y - height / 2))
