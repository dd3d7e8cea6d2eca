"""Pictures of temporal fusion: correlation maps, shifted boxes and masks, and what shifting is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from stmask import viz
from stmask.models.stmask import Detections, STMask
from stmask.ops.boxes import to_centres
from stmask.plots import style
from stmask.plots.frames import Frame, show_frame
from stmask.plots.motion import (
    Displacement,
    Overlaps,
    carried,
    displacements,
    in_both,
    instances_at,
    mask_overlap,
    predict,
    pyramid,
    shifted,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def correlation(model: STMask, reference: Frame, target: Frame, *, level: str, size: int) -> Figure:
    """For each object a row: where it was, where it went with the window that is searched, and its correlation map."""
    found = displacements(model, reference, target, level=level, size=size)
    h, w = pyramid(model, reference)[level].shape[2:]
    cell = torch.tensor([reference.input_size[1] / w, reference.input_size[0] / h])  # (x, y) pixels
    aspect = reference.size[0] / reference.size[1]
    figure, axes = style.image_grid(max(1, len(found)), 3, aspect=aspect, title=0.15, ratios=(1, 1, aspect))
    for row, moved in zip(axes, found):
        _outlined(row[0], reference, moved.object_)
        _searched(row[1], reference, target, moved, cell)
        _map(row[2], moved)
        style.row_label(row[0], f"object {int(reference.track_ids[moved.object_])}")
    axes[-1, 2].set_xlabel("cells to the right")
    for axis, text in zip(axes[0], ("reference", "target", f"correlation on {level}"), strict=True):
        style.title(axis, text)
    return figure


def _outlined(axis: Axes, frame: Frame, object_: int) -> None:
    show_frame(axis, frame)
    style.outline(axis, frame.boxes[object_] * frame.unit, "white", linewidth=3.5)
    style.outline(axis, frame.boxes[object_] * frame.unit, style.BLUE)


def _searched(axis: Axes, reference: Frame, target: Frame, moved: Displacement, cell: torch.Tensor) -> None:
    """The window around the old place, and the way the object went."""
    show_frame(axis, target)
    start = to_centres(reference.boxes[moved.object_])[:2] * target.unit[:2]
    half = cell * moved.scores.shape[0] / 2
    style.outline(axis, torch.cat([start - half, start + half]), style.YELLOW, linestyle="--")
    end = start + torch.tensor(moved.true) * cell
    (x, y), (to_x, to_y) = start.tolist(), end.tolist()
    for colour, width in (("white", 5.0), (style.RED, 2.5)):
        axis.annotate("", (to_x, to_y), (x, y), arrowprops={"arrowstyle": "->", "color": colour, "lw": width})
    axis.plot(x, y, "o", color=style.RED, markeredgecolor="white", markersize=6)


def _map(axis: Axes, moved: Displacement) -> None:
    radius = moved.scores.shape[0] // 2
    edges = (-radius - 0.5, radius + 0.5, radius + 0.5, -radius - 0.5)
    axis.imshow(moved.scores.numpy(), extent=edges, cmap="cividis", interpolation="nearest")
    axis.plot(*moved.true, "o", color=style.RED, markerfacecolor="none", markersize=13, markeredgewidth=2.2)
    axis.plot(*moved.peak, "x", color="white", markersize=9, markeredgewidth=2.2)
    ticks = [-radius, 0, radius]
    axis.set(xticks=ticks, yticks=ticks, ylabel="cells down")


def peaks(model: STMask, stretches: Sequence[Sequence[Frame]], *, level: str, size: int) -> Figure:
    """The peak of the correlation against the true motion, from each stretch's first frame to its later ones."""
    found = [
        moved
        for frames in stretches
        for target in frames[1:]
        for moved in displacements(model, frames[0], target, level=level, size=size)
    ]
    within = [moved for moved in found if max(map(abs, moved.true)) <= size // 2]  # the others leave the window
    true = np.array([moved.true for moved in within]).reshape(-1, 2)
    peak = np.array([moved.peak for moved in within], dtype=np.float64).reshape(-1, 2)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    right = (np.abs(true - peak) <= 1).all(axis=1).mean() if len(within) else 0.0
    figure.suptitle(f"{len(within)} moves: {100 * right:.0f} % of the peaks within a cell of the truth", fontsize=11)
    limit = min(size / 2, 1 + np.abs(np.concatenate([true, peak])).max(initial=1.0))
    for axis, side, name in zip(figure.subplots(1, 2), range(2), ("to the right", "down"), strict=True):
        style.plain(axis)
        axis.plot([-limit, limit], [-limit, limit], color=style.INK, linewidth=0.8)
        axis.scatter(true[:, side], peak[:, side], s=26, color=style.BLUE, alpha=0.45, linewidths=0)
        axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        axis.set(xlabel=f"true motion {name}, cells of {level}", ylabel="peak of the correlation, cells")
    return figure


def shift(model: STMask, reference: Frame, target: Frame) -> Figure:
    """Instances of the reference frame, the same ones shifted to the target frame, and the truth there."""
    before, after = predict(model, [reference, target])
    instances = instances_at(before, reference)
    moved = shifted(model, instances, before, after)
    figure, axes = style.image_grid(1, 3, aspect=reference.size[0] / reference.size[1])
    ids = reference.track_ids.tolist()
    show_instances(axes[0, 0], reference, instances, ids)
    show_instances(axes[0, 1], target, moved, ids)
    show_frame(axes[0, 2], target)
    for axis in axes[0, 1:]:
        for box in instances.boxes:
            style.outline(axis, box * target.unit, "white", linestyle="--", linewidth=1.6)
    for track_id, box in zip(target.track_ids.tolist(), target.boxes):
        style.outline(axes[0, 2], box * target.unit, style.hexadecimal(viz.track_colour(track_id)))
    titles = ("reference: instances", "target: shifted, not detected", "target: the true boxes")
    for axis, text in zip(axes[0], titles, strict=True):
        style.title(axis, text)
    return figure


def show_instances(axis: Axes, frame: Frame, instances: Detections, track_ids: Sequence[int]) -> None:
    """A frame with masks and boxes of N instances of a network."""
    (height, width), (padded_h, padded_w) = frame.size, frame.input_size
    large = F.interpolate(instances.masks.probabilities[None], size=(padded_h, padded_w), mode="bilinear")[
        0, :, :height, :width
    ]
    large = F.interpolate(large[None], size=frame.image.shape[:2], mode="bilinear")[0]
    drawn = viz.draw(frame.image, (large > 0.5).numpy(), track_ids=track_ids, captions=False, opacity=0.55)
    show_frame(axis, frame)
    axis.images[0].set_data(drawn)
    for track_id, box in zip(track_ids, instances.boxes, strict=True):
        style.outline(axis, box * frame.unit, style.hexadecimal(viz.track_colour(track_id)))


def carry(model: STMask, frames: Sequence[Frame]) -> Figure:
    """The first frame's instances, carried on by temporal fusion alone; under each frame the mean IoU of the masks."""
    states = carried(model, frames)
    figure, axes = style.image_grid(
        1, len(frames), aspect=frames[0].size[0] / frames[0].size[1], width=13.0, title=0.55
    )
    for step, (axis, frame, instances) in enumerate(zip(axes[0], frames, states, strict=True)):
        show_instances(axis, frame, instances, frames[0].track_ids.tolist())
        fits = [mask_overlap(instances, row, frame, other) for row, other in in_both(frames[0], frame)]
        style.title(axis, f"frame {step}" if step else "frame 0, detected")
        axis.set_xlabel(f"mask IoU {np.mean(fits):.2f}" if fits else "all have left", fontsize=10)
    return figure


def gain(found: Overlaps) -> Figure:
    """IoU with the truth, mean and its standard error, of what was shifted and of what was left in place, by gap."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    gaps = np.unique(found.gap)
    panels = (("boxes", found.box_left, found.box_shifted), ("masks", found.mask_left, found.mask_shifted))
    for axis, (name, left, moved) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        style.plain(axis)
        for values, text, colour, marker in (
            (moved, "shifted by TF", style.BLUE, "o"),
            (left, "left in place", style.ORANGE, "s"),
        ):
            groups = [values[found.gap == gap] for gap in gaps]
            means = [group.mean() for group in groups]
            errors = [group.std() / len(group) ** 0.5 for group in groups]
            axis.errorbar(gaps, means, errors, color=colour, marker=marker, capsize=3, label=text)
        axis.set(xlabel="frames from the reference to the target", title=name, ylim=(0, 1), xticks=gaps)
        axis.legend(frameon=False, loc="lower left")
    figure.supylabel("IoU with the truth in the target", fontsize=10)
    return figure
