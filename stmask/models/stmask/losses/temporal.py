"""Losses of the temporal fusion: the shift of the instances of frame t to frame t + 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.models.stmask.losses.positives import Positives
from stmask.models.stmask.records import DensePredictions, TemporalModule
from stmask.ops.boxes import encode, to_centres
from stmask.ops.masks import combine_frames
from stmask.structures import FrameTargets


class TrainableTemporalModule(TemporalModule, Protocol):
    """The network's temporal fusion, with the parameters that the losses train."""

    def parameters(self) -> Iterator[Tensor]: ...


class MaskCosts(Protocol):
    """As `Criterion.mask_costs`."""

    def __call__(
        self, logits: Tensor, *, boxes: Tensor, target_masks: Tensor, objects: Tensor, min_side: float
    ) -> Tensor: ...


def shift_losses(
    temporal: TrainableTemporalModule,
    predictions: DensePredictions,
    positives: Positives,
    targets: Sequence[FrameTargets],
    *,
    clip_length: int,
    mask_costs: MaskCosts,
) -> tuple[Tensor, Tensor]:
    """Box and mask loss of the shifted instances, each the mean over a pair's instances, then over the pairs.

    An instance is a positive of frame t whose object is also in frame t + 1. The box target is the movement from the
    object's true box to its next one; the mask is compared to the object's in frame t + 1, cropped by its true box.
    These losses train the temporal fusion and the features below it, not prototypes and coefficients.

    Args:
        temporal: the temporal fusion.
        predictions: of all frames, clip by clip.
        positives: of the same frames.
        targets: of the same frames.
        clip_length: frames of a clip.
        mask_costs: of the masks in their boxes, as `Criterion.mask_costs`.
    """
    features = predictions.temporal_features
    assert features is not None
    references = [frame for frame in range(len(targets)) if frame % clip_length < clip_length - 1]
    links = [_links(positives, targets, frame) for frame in references]
    rows = [row for row, _ in links]
    boxes = positives.boxes.detach()
    fused = temporal.fuse(features[references], features[[frame + 1 for frame in references]])
    deltas, coeff_deltas = temporal(fused, [boxes[row] for row in rows])
    with torch.autocast(features.device.type, enabled=False):
        deltas, coeff_deltas = deltas.float(), coeff_deltas.float()
        following = [targets[frame + 1] for frame in references]
        firsts = accumulate((len(target) for target in following), initial=0)
        moved = positives.select(torch.cat(rows))
        goals = torch.cat([nexts + first for (_, nexts), first in zip(links, firsts)])
        weights = moved.weights / len(references)
        goal_boxes = torch.cat([target.boxes for target in following])[goals].float()
        movement = encode(goal_boxes, to_centres(moved.target_boxes))
        box = F.smooth_l1_loss(deltas, movement, reduction="none").sum(dim=1)
        costs = mask_costs(
            combine_frames(
                predictions.prototypes.detach(),
                moved.mask_coeffs.detach() + coeff_deltas,
                moved.frames + 1,
            ),
            boxes=goal_boxes,
            target_masks=torch.cat([target.masks for target in following]),
            objects=goals,
            min_side=0.0,
        )
        return torch.dot(weights, box), torch.dot(weights, costs)


def _links(positives: Positives, targets: Sequence[FrameTargets], frame: int) -> tuple[Tensor, Tensor]:
    """Rows of the positives of `frame` whose object is in the next frame too, and its index there."""
    rows = (positives.frames == frame).nonzero().squeeze(1)
    current, following = targets[frame], targets[frame + 1]
    if len(current) == 0 or len(following) == 0:
        return rows[:0], rows[:0]
    same = current.track_ids[positives.objects[rows]][:, None] == following.track_ids[None]
    present = same.any(dim=1)
    return rows[present], same[present].to(torch.uint8).argmax(dim=1)
