"""The anchors of a batch that carry an object, gathered once for all losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stmask.models.stmask.records import DensePredictions
from stmask.ops.boxes import decode
from stmask.ops.matching import AnchorMatches
from stmask.structures import FrameTargets


@dataclass(frozen=True, slots=True)
class Positives:
    """P positive anchors of F frames, frame by frame.

    Attributes:
        frames: (P,) int64, index of the frame.
        anchors: (P,) int64, index of the anchor.
        objects: (P,) int64, index of the object within its frame's targets.
        rows: (P,) int64, index of the object among those of all frames.
        track_ids: (P,) int64.
        weights: (P,), one over the number of positives of the frame, so that every frame with objects weighs 1.
        target_boxes: (P, 4) xyxy, the objects' boxes.
        boxes: (P, 4) xyxy, the predicted boxes (with gradient).
        mask_coeffs: (P, D), the predicted coefficients before tanh (with gradient).
        embeddings: (P, E), the predicted embeddings (with gradient).
    """

    frames: Tensor
    anchors: Tensor
    objects: Tensor
    rows: Tensor
    track_ids: Tensor
    weights: Tensor
    target_boxes: Tensor
    boxes: Tensor
    mask_coeffs: Tensor
    embeddings: Tensor

    def __len__(self) -> int:
        return self.frames.shape[0]

    def of(self, values: Tensor) -> Tensor:
        """The rows of values (F, A, ...) that belong to the positives: (P, ...)."""
        return values[self.frames, self.anchors]

    def select(self, rows: Tensor) -> Positives:
        """Some of the positives, given by their rows in order; each frame that keeps any still weighs 1."""
        frames = self.frames[rows]
        counts = torch.bincount(frames, minlength=1)
        return Positives(
            frames=frames,
            anchors=self.anchors[rows],
            objects=self.objects[rows],
            rows=self.rows[rows],
            track_ids=self.track_ids[rows],
            weights=1 / counts[frames].to(self.weights.dtype),
            target_boxes=self.target_boxes[rows],
            boxes=self.boxes[rows],
            mask_coeffs=self.mask_coeffs[rows],
            embeddings=self.embeddings[rows],
        )


def gather_positives(
    predictions: DensePredictions, matches: Sequence[AnchorMatches], targets: Sequence[FrameTargets]
) -> Positives:
    """Positives of a batch from the matches and targets of its F frames."""
    device = predictions.box_deltas.device
    frames, anchors = torch.stack([match.positive for match in matches]).nonzero(as_tuple=True)
    objects = torch.stack([match.objects for match in matches])[frames, anchors]
    track_ids = torch.stack([match.track_ids for match in matches])[frames, anchors]
    counts = torch.bincount(frames, minlength=len(matches))
    starts = torch.tensor([0] + [len(target) for target in targets], device=device).cumsum(0)
    rows = starts[frames] + objects
    all_boxes = torch.cat([target.boxes for target in targets]).to(predictions.box_deltas.dtype)
    mask_coeffs, embeddings = predictions.branches.at(frames, anchors)
    return Positives(
        frames=frames,
        anchors=anchors,
        objects=objects,
        rows=rows,
        track_ids=track_ids,
        weights=1 / counts[frames].to(predictions.box_deltas.dtype),
        target_boxes=all_boxes[rows],
        boxes=decode(predictions.box_deltas[frames, anchors], predictions.anchors[anchors]),
        mask_coeffs=mask_coeffs.float(),
        embeddings=embeddings.float(),
    )
