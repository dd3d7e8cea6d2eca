"""The losses of CondInst: FCOS's, one of masks, and the embeddings'."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.models.condinst.masks import MASK_STRIDE, drawn
from stmask.models.condinst.records import CondInstMaps
from stmask.models.layers.fcos import PointLoss, PointMatcher, PointTargets
from stmask.models.stmask.losses.tracking import embedding_loss
from stmask.number_checks import require_integer, require_number
from stmask.structures import Clip, LossReport

_EPSILON = 5e-6


@dataclass(frozen=True, slots=True)
class CondInstLoss:
    """Classes, boxes, centre-ness and masks of all frames, and embeddings that are alike for one object alone.

    Attributes:
        radius: strides from the centre of mass of an object's mask within which points show it.
        limits: pixels from a point to the furthest side of the box, up to which a level serves.
        alpha, gamma: of the focal loss.
        max_masks: at most this many points of a frame, drawn at random, learn a mask.
        track: factor of the embeddings' loss; the others' are 1.
    """

    radius: float = 1.5
    limits: tuple[float, ...] = (64.0, 128.0, 256.0, 512.0)
    alpha: float = 0.25
    gamma: float = 2.0
    max_masks: int = 300
    track: float = 1.0

    def __post_init__(self) -> None:
        PointMatcher(radius=self.radius, limits=tuple(self.limits))
        PointLoss(alpha=self.alpha, gamma=self.gamma)
        require_integer(max_masks=self.max_masks)
        require_number(track=self.track)

    def __call__(self, maps: CondInstMaps, clip: Clip, *, generator: torch.Generator) -> LossReport:
        """The losses of the B * T frames of clips, clip by clip; the generator draws what `max_masks` keeps."""
        size = (clip.frames.shape[-2], clip.frames.shape[-1])
        matcher = PointMatcher(radius=self.radius, centre="mask", limits=tuple(self.limits))
        targets = matcher(maps.points, clip.flat_targets, input_size=size)
        point_loss = PointLoss(box="giou", alpha=self.alpha, gamma=self.gamma, frame_count=0.0)
        terms = point_loss(maps.predictions, targets, maps.points)
        terms["mask"] = self._mask_term(maps, targets, clip, generator)
        idle = None
        if maps.embeddings is not None and self.track:
            terms["track"] = self.track * _track_term(maps.embeddings, targets, clip)
        elif maps.embeddings is not None:
            idle = maps.embeddings.flatten()[:0].sum()
        count = float(targets.positive.sum()) / len(targets.labels)
        return LossReport(terms, {"positive_points": count}, idle=idle)

    def _mask_term(self, maps: CondInstMaps, targets: PointTargets, clip: Clip, generator: torch.Generator) -> Tensor:
        costs = []
        for b, target in enumerate(clip.flat_targets):
            shown = targets.positive[b].nonzero().flatten()
            if len(shown) > self.max_masks:
                shown = shown[torch.randperm(len(shown), generator=generator)[: self.max_masks].to(shown.device)]
            logits = drawn(
                maps.features[b],
                maps.filters[b, shown],
                xy_px=maps.points.xy_px[shown],
                strides=maps.points.strides[shown],
            )
            start = MASK_STRIDE // 2
            masks = target.masks[:, start::MASK_STRIDE, start::MASK_STRIDE][targets.objects[b, shown]]
            costs.append(dice_costs(logits.sigmoid(), masks.to(logits)))
        return torch.cat(costs).sum() / max(1, sum(map(len, costs)))


def dice_costs(probabilities: Tensor, masks: Tensor) -> Tensor:
    """1 - Dice (N,) of probabilities and masks (N, h, w), with squares in its denominator."""
    overlap = (probabilities * masks).flatten(1).sum(dim=1)
    squares = sum(one.square().flatten(1).sum(dim=1) + _EPSILON for one in (probabilities, masks))
    return 1 - 2 * overlap / squares


def _track_term(embeddings: Tensor, targets: PointTargets, clip: Clip) -> Tensor:
    """Over all points that show objects. Identities are told apart between clips."""
    length = clip.frames.shape[1]
    span = 1 + max((int(t.track_ids.max()) for t in clip.flat_targets if len(t)), default=0)
    ids = [
        target.track_ids[targets.objects[b][targets.positive[b]]] + span * (b // length)
        for b, target in enumerate(clip.flat_targets)
    ]
    chosen = F.normalize(embeddings[targets.positive], dim=1)
    return embedding_loss(chosen, torch.cat(ids), chosen.new_ones(len(chosen)))
