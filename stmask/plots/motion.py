"""What a network knows about motion between two frames: correlation maps, and instances that temporal fusion moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.data import VideoDataset
from stmask.errors import ConfigError
from stmask.models.layers import Pyramid
from stmask.models.stmask import STMask
from stmask.models.stmask.propagation import propagate
from stmask.models.stmask.records import DensePredictions, Detections, FrameMemory
from stmask.ops import boxes as box_ops
from stmask.ops import masks as mask_ops
from stmask.ops.correlation import correlate
from stmask.ops.frames import FramePreprocessor
from stmask.plots.frames import AnnotatedFrame, annotated_at, read_frame
from stmask.plots.style import Floats
from stmask.structures import DenseMasks


@dataclass(frozen=True, slots=True)
class Displacement:
    """How far one object went from the reference to the target frame, by its boxes and by the correlation.

    Attributes:
        object_: its row in the reference frame.
        scores: (d, d), the correlation for each displacement (dy, dx), mean over the object's cells; middle: none.
        true: (dx, dy) of the box's centre, in cells.
    """

    object_: int
    scores: Tensor
    true: tuple[float, float]

    @property
    def peak(self) -> tuple[int, int]:
        """(dx, dy) of the largest correlation, in cells."""
        size = self.scores.shape[0]
        row, column = divmod(int(self.scores.argmax()), size)
        return column - size // 2, row - size // 2


@dataclass(frozen=True, slots=True)
class ShiftOverlaps:
    """IoU with the truth in the target frame, of N objects that were shifted there, and of the same ones left in place.

    Attributes:
        gap: (N,) frames between the two.
        box_left, box_shifted, mask_left, mask_shifted: (N,).
    """

    gap: Floats
    box_left: Floats
    box_shifted: Floats
    mask_left: Floats
    mask_shifted: Floats


def sequences(
    dataset: VideoDataset, preprocessor: FramePreprocessor, *, count: int, length: int
) -> list[list[AnnotatedFrame]]:
    """`count` stretches of `length` frames (or a whole, shorter video) that begin at evenly spread annotated frames."""
    found = []
    for part in (np.arange(count) + 0.5) / count:
        video, start = annotated_at(dataset, part=float(part))
        start = max(0, min(start, dataset.length(video) - length))
        stop = min(start + length, dataset.length(video))
        found.append([read_frame(dataset, preprocessor, video=video, position=p) for p in range(start, stop)])
    return found


def liveliest(stretches: Sequence[Sequence[AnnotatedFrame]]) -> Sequence[AnnotatedFrame]:
    """The stretch whose objects move the farthest, all together, from its first to its last frame."""
    return max(stretches, key=lambda frames: sum(_way(frames[0], frames[-1])))


def _way(reference: AnnotatedFrame, target: AnnotatedFrame) -> list[float]:
    """How far each object that is in both frames moves, in sizes of the input."""
    pairs = in_both(reference, target)
    centres = [box_ops.to_centres(torch.stack([reference.boxes[a], target.boxes[b]]))[:, :2] for a, b in pairs]
    return [float((end - start).norm()) for start, end in centres]


@torch.inference_mode()
def pyramid(model: STMask, frame: AnnotatedFrame) -> Pyramid:
    """The features of a frame."""
    levels: Pyramid = model.fpn(model.backbone(frame.inputs[None]))
    return levels


@torch.inference_mode()
def predict(model: STMask, frames: Sequence[AnnotatedFrame]) -> list[DensePredictions]:
    """The dense predictions of a network for each frame."""
    return [model(frame.inputs[None]).float() for frame in frames]


def displacements(
    model: STMask, reference: AnnotatedFrame, target: AnnotatedFrame, *, level: str, size: int
) -> list[Displacement]:
    """The correlation maps of the objects that are in both frames.

    Args:
        model: gives the features.
        reference, target: of one video.
        level: of the pyramid.
        size: d, the side of the window of displacements, odd.
    """
    features = pyramid(model, reference)[level]
    h, w = features.shape[2:]
    maps = correlate(features, pyramid(model, target)[level], size=size)[0]  # (d * d, h, w)
    found = []
    for row, other in in_both(reference, target):
        weights = masks_on_map(reference, (h, w))[row]
        cells = (weights > 0.5) if (weights > 0.5).any() else weights == weights.max()
        centres = box_ops.to_centres(torch.stack([reference.boxes[row], target.boxes[other]]))[:, :2]
        dx, dy = ((centres[1] - centres[0]) * centres.new_tensor([w, h])).tolist()
        found.append(Displacement(row, maps[:, cells].mean(dim=1).view(size, size), (dx, dy)))
    return found


def masks_on_map(frame: AnnotatedFrame, size: tuple[int, int]) -> Tensor:
    """How much of each cell of a map over the padded input each object covers: (N, h, w) in [0, 1]."""
    (height, width), (padded_h, padded_w) = frame.size, frame.input_size
    masks = F.interpolate(frame.masks[None].float(), size=(height, width), mode="area")
    padded = F.pad(masks, (0, padded_w - width, 0, padded_h - height))
    return F.interpolate(padded, size=size, mode="area")[0]


@torch.inference_mode()
def instances_at(predictions: DensePredictions, frame: AnnotatedFrame) -> Detections:
    """For each of N objects the anchor that shows it best, its box and its class taken together, as a sure detection.

    What temporal fusion does then does not depend on thresholds and suppression.
    """
    regressed = box_ops.decode(predictions.box_deltas[0], predictions.anchors)
    probabilities = predictions.class_logits[0].softmax(dim=1)[:, frame.labels]  # (A, N)
    best = (probabilities * box_ops.iou(regressed, frame.boxes)).argmax(dim=0)
    coeffs, embeddings = predictions.branches.at(torch.zeros_like(best), best)
    return Detections(
        boxes=regressed[best],
        scores=torch.ones(len(best)),
        labels=frame.labels,
        centerness=torch.ones(len(best)),
        mask_coeffs=coeffs,
        embeddings=embeddings,
        masks=DenseMasks(mask_ops.instance_masks(predictions.prototypes[0], coeffs, regressed[best])),
    )


@torch.inference_mode()
def shifted(model: STMask, instances: Detections, reference: DensePredictions, target: DensePredictions) -> Detections:
    """The instances of the reference frame, moved to the target frame (equations 10 to 14).

    Raises:
        ConfigError: the network has no temporal fusion.
    """
    if model.temporal is None:
        raise ConfigError("this network has no temporal fusion (model/temporal=none): take another run")
    before, after = (FrameMemory.of(predictions, temporal=model.temporal) for predictions in (reference, target))
    return propagate(instances, reference=before, target=after, score_decay=1.0)


def carried(model: STMask, frames: Sequence[AnnotatedFrame]) -> list[Detections]:
    """The instances of the first frame, carried from frame to frame without another detection."""
    predictions = predict(model, frames)
    instances = [instances_at(predictions[0], frames[0])]
    for before, after in pairwise(predictions):
        instances.append(shifted(model, instances[-1], before, after))
    return instances


def overlaps(model: STMask, stretches: Sequence[Sequence[AnnotatedFrame]]) -> ShiftOverlaps:
    """What shifting gains: the instances of each stretch's first frame, shifted at once to every later one."""
    rows = []
    for frames in stretches:
        predictions = predict(model, frames)
        first = instances_at(predictions[0], frames[0])
        for gap, (frame, prediction) in enumerate(zip(frames, predictions)):
            if gap == 0 or len(first) == 0:
                continue
            moved = shifted(model, first, predictions[0], prediction)
            rows += [(gap, *_fits(row, other, first, moved, frame)) for row, other in in_both(frames[0], frame)]
    return ShiftOverlaps(*np.array(rows, dtype=np.float64).reshape(-1, 5).T)


def mask_overlap(instances: Detections, row: int, frame: AnnotatedFrame, object_: int) -> float:
    """IoU of an instance's mask with an object's, at the prototypes' resolution."""
    mask = instances.masks.binary()[row]
    truth = masks_on_map(frame, (mask.shape[0], mask.shape[1]))[object_] > 0.5
    return float(mask_ops.iou(mask[None], truth[None]))


def _fits(row: int, other: int, left: Detections, moved: Detections, frame: AnnotatedFrame) -> tuple[float, ...]:
    boxes = [float(box_ops.paired_iou(of.boxes[row], frame.boxes[other])) for of in (left, moved)]
    return (*boxes, *(mask_overlap(of, row, frame, other) for of in (left, moved)))


def in_both(reference: AnnotatedFrame, target: AnnotatedFrame) -> list[tuple[int, int]]:
    """Rows of the same object in two frames."""
    same = reference.track_ids[:, None] == target.track_ids[None]
    return [(int(row), int(column)) for row, column in same.nonzero()]
