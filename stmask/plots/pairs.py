"""Pictures of a dataset as training sees it: videos, frame pairs, and what augmentation makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from stmask import viz
from stmask.data import Augmentation, ClipAugmenter, FrameInstances, FramePairDataset, VideoDataset
from stmask.lettering import for_plot
from stmask.ops.boxes import from_masks
from stmask.plots import style
from stmask.plots.style import Image
from stmask.structures import FrameTargets

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN_WIDTH = 480  # pixels: small frames are enlarged before their masks are drawn, for smooth outlines


def show_objects(
    axis: Axes, image: Image, masks: Tensor, *, boxes: Tensor, track_ids: Sequence[int], names: Sequence[str]
) -> None:
    """An image with N masks (N, h, w), boxes (N, 4) xyxy in [0, 1], and a name for each."""
    size = (_DRAWN_WIDTH, round(_DRAWN_WIDTH * image.shape[0] / image.shape[1]))
    shapes = [cv2.resize(mask.byte().numpy() * 255, size, interpolation=cv2.INTER_LINEAR) > 127 for mask in masks]
    picture = viz.draw(
        np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8),
        np.stack(shapes) if shapes else np.zeros((0, size[1], size[0]), dtype=bool),
        track_ids=track_ids,
        captions=False,
        opacity=0.35,
    )
    style.show(axis, picture)
    boxes_px = boxes * boxes.new_tensor([*size, *size])
    for corner, (box, track_id, name) in enumerate(zip(boxes_px, track_ids, names, strict=True)):
        colour = style.hexadecimal(viz.track_colour(track_id))
        style.outline(axis, box, colour, linewidth=1.2)
        style.caption(axis, box, f"{track_id} {name}", colour, corner=corner)


def show_targets(axis: Axes, image: Image, targets: FrameTargets, class_names: Sequence[str]) -> None:
    """A network input with what is to be learned from it."""
    names = [for_plot(class_names[label - 1], f"class {label}") for label in targets.labels.tolist()]
    show_objects(axis, image, targets.masks, boxes=targets.boxes, track_ids=targets.track_ids.tolist(), names=names)


def show_instances(axis: Axes, image: Image, found: FrameInstances, class_names: Sequence[str]) -> None:
    """A frame of a dataset with its instances, boxes as their masks have them."""
    kept = [i for i, mask in enumerate(found.masks) if mask.any()]  # what left the frame is not an instance of it
    masks = torch.zeros(0, *image.shape[:2], dtype=torch.bool)
    if kept:
        masks = torch.from_numpy(np.stack([found.masks[i] for i in kept])).bool()
    names = [for_plot(class_names[label - 1], f"class {label}") for label in found.labels[kept]]
    show_objects(axis, image, masks, boxes=from_masks(masks), track_ids=found.track_ids[kept].tolist(), names=names)


def videos(dataset: VideoDataset, *, count: int = 3, frames: int = 4) -> Figure:
    """Evenly spaced frames of evenly spaced videos, a row each."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int)).tolist()
    height, width = dataset.video(chosen[0]).size
    figure, axes = style.image_grid(len(chosen), frames, aspect=height / width)
    for row, video in zip(axes, chosen, strict=True):
        style.row_label(row[0], f"video {dataset.video_id(video)}")
        for axis, position in zip(row, np.linspace(0, dataset.length(video) - 1, frames).round().astype(int).tolist()):
            image = dataset.read_frame(video, position)
            show_instances(axis, image, dataset.instances(video, position), dataset.class_names)
            style.title(axis, f"frame {position}")
    return figure


def pairs(source: FramePairDataset, positions: Sequence[int]) -> Figure:
    """Samples of the stream of training pairs, a column each: the reference frame above the target frame."""
    height, width = source.preprocessor.padded_size
    figure, axes = style.image_grid(2, len(positions), aspect=height / width)
    for column, position in zip(axes.T, positions, strict=True):
        clip = source.draw(position)
        indices = clip.frame_indices[0].tolist()
        for axis, inputs, targets, index in zip(column, clip.frames[0], clip.targets[0], indices, strict=True):
            show_targets(axis, source.preprocessor.restore(inputs), targets, source.dataset.class_names)
            style.title(axis, f"video {int(clip.video_ids[0])}, frame {index}")
    style.row_label(axes[0, 0], "reference")
    style.row_label(axes[1, 0], "target")
    return figure


def distances(source: FramePairDataset, *, samples: int = 300) -> Figure:
    """How far the target frame is from the reference frame, over the first samples of the stream."""
    clips = (source.draw(position) for position in range(samples))
    steps = np.array([int(clip.frame_indices[0, 1] - clip.frame_indices[0, 0]) for clip in clips])
    values, counts = np.unique(steps, return_counts=True)
    figure, axis = style.chart(7.0, 2.6)
    axis.bar(values, counts, color=style.BLUE, width=0.8)
    axis.set(xlabel="frames from the reference to the target", ylabel=f"pairs of {samples}", xticks=values)
    return figure


def augmentations(
    dataset: VideoDataset,
    augmentation: Augmentation,
    *,
    video: int,
    frames: tuple[int, int],
    size: tuple[int, int],
    seeds: Sequence[int] = (1, 2, 3),
) -> Figure:
    """One pair of frames as it is, and as several draws of the augmentation change it, a column each.

    Args:
        dataset: where the pair is from.
        augmentation: what is drawn.
        video: position of the video.
        frames: positions of the reference and the target frame in it.
        size: (height, width) of the results.
        seeds: of the draws.
    """
    images = [dataset.read_frame(video, position) for position in frames]
    found = [dataset.instances(video, position) for position in frames]
    changer = ClipAugmenter(augmentation, height=size[0], width=size[1])
    figure, axes = style.image_grid(2, len(seeds) + 1, aspect=size[0] / size[1], title=0.15)
    for seed, column in zip((None, *seeds), axes.T, strict=True):
        changed, masks = images, [list(instances.masks) for instances in found]
        if seed is not None:
            changed, masks, _ = changer(images, masks, seed)
        for axis, image, instances, moved in zip(column, changed, found, masks, strict=True):
            kept = FrameInstances(instances.labels, instances.track_ids, tuple(moved))
            show_instances(axis, image, kept, dataset.class_names)
        style.title(column[0], f"seed {seed}" if seed is not None else "as it is")
    style.row_label(axes[0, 0], "reference")
    style.row_label(axes[1, 0], "target")
    return figure
