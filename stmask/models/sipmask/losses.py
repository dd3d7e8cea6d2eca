"""The losses of SipMask: of classes, boxes, centre-ness, masks and identities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.models.layers.fcos import (
    PointLoss,
    PointMatcher,
    PointPredictions,
    Points,
    PointTargets,
    by_point,
    paired_iou,
)
from stmask.models.sipmask.detector import EXTENT, features_at
from stmask.models.sipmask.masks import STRIDE, quarter_logits
from stmask.models.sipmask.records import SipMaskMaps
from stmask.models.sipmask.rescoring import MaskRescorer, iou_errors
from stmask.number_checks import require_integer, require_number
from stmask.structures import Clip, FrameTargets, LossReport

_SMALLEST = 1.0  # cells of the prototypes that a predicted box must cover to have a mask
_LEAST_SUM = 1e-4  # of the weights of a frame's masks
_RESCORING = 10.0  # weight of its term


@dataclass(frozen=True, slots=True)
class SipMaskLoss:
    """The three losses of FCOS, one of masks and a cross entropy over identities, all of weight 1.

    The objects of a clip's first frame are learnt; those of the second, at the centres of their annotated boxes, are
    what their track features are compared with.

    Attributes:
        radius, limits: as of `PointMatcher`.
        alpha, gamma: as of `PointLoss`.
        jitter: the annotated centres are moved at random, by at most this part of the box's sides.
        rescored_cells: rescoring learns from objects of so many cells of the prototypes or more.
    """

    radius: float = 1.5
    limits: tuple[float, ...] = (64.0, 128.0, 256.0, 512.0)
    alpha: float = 0.25
    gamma: float = 2.0
    jitter: float = 0.05
    rescored_cells: int = 100

    def __post_init__(self) -> None:
        require_number(jitter=self.jitter)
        require_integer(rescored_cells=self.rescored_cells)
        self._matcher()
        self._of_points()

    def __call__(
        self,
        maps: SipMaskMaps,
        clip: Clip,
        *,
        reference: Tensor,
        generator: torch.Generator,
        rescorer: MaskRescorer | None = None,
    ) -> LossReport:
        """The losses of B clips.

        Args:
            maps: of their first frames.
            clip: their targets.
            reference: (B, E, h, w), the track maps of their second frames.
            generator: of the jitter.
            rescorer: of the network, if it has one.
        """
        first, second = ([row[t] for row in clip.targets] for t in (0, 1))
        input_size = (clip.frames.shape[3], clip.frames.shape[4])
        points, predictions = Points.of(maps.class_logits), maps.by_point()
        targets = self._matcher()(points, first, input_size=input_size)
        terms = self._of_points()(predictions, targets, points)
        boxes_px = points.boxes_px(predictions.distances_px.detach())
        coefficients = by_point(maps.coefficients).float()
        size = boxes_px.new_tensor(input_size[::-1] * 2)
        masks, tracks, judged = [], [], []
        for b, (own, other) in enumerate(zip(first, second, strict=True)):
            rows = targets.positive[b].nonzero().flatten()
            sides = (boxes_px[b, rows, 2:] - boxes_px[b, rows, :2]) / STRIDE
            rows = rows[sides.prod(dim=1) > _SMALLEST]
            box, objects = boxes_px[b, rows], targets.objects[b, rows]
            weights = _weights(predictions, targets, box, frame=b, rows=rows)
            logits, inside = quarter_logits(maps.prototypes[b].float(), coefficients[b, rows], box / STRIDE)
            # a cell is the object's where more than half of its pixels are
            wanted = (F.avg_pool2d(own.masks[:, None].float(), STRIDE)[:, 0] > 0.5)[objects]
            masks.append(_mask_cost(logits, inside, wanted, box / STRIDE, weights))
            if rescorer is not None:
                found = logits.detach().sigmoid() * inside
                judged.append(iou_errors(rescorer, found, wanted, own.labels[objects], cells=self.rescored_cells))
            known = features_at(reference[b], self._jittered(other.boxes.float() * size, generator))
            tracks.append(_track_cost(features_at(maps.track[b], box), known, own.track_ids[objects], other))
        terms |= {"mask": torch.stack(masks).mean(), "track": torch.stack(tracks).mean()}
        if judged:
            terms["rescoring"] = _RESCORING * torch.cat(judged).sum() / max(1, sum(map(len, judged)))
        return LossReport(terms, {"positive_points": float(targets.positive.sum()) / len(clip)})

    def _matcher(self) -> PointMatcher:
        return PointMatcher(radius=self.radius, limits=tuple(self.limits), extent=EXTENT)

    def _of_points(self) -> PointLoss:
        return PointLoss(box="iou", extent=EXTENT, alpha=self.alpha, gamma=self.gamma)

    def _jittered(self, boxes_px: Tensor, generator: torch.Generator) -> Tensor:
        """Boxes (M, 4) as the network has them, moved at random."""
        boxes_px = boxes_px - boxes_px.new_tensor([0, 0, EXTENT, EXTENT])
        parts = (torch.rand(len(boxes_px), 2, generator=generator).to(boxes_px) * 2 - 1) * self.jitter
        return boxes_px + ((boxes_px[:, 2:] - boxes_px[:, :2]) * parts).repeat(1, 2)


def _weights(
    predictions: PointPredictions, targets: PointTargets, boxes_px: Tensor, *, frame: int, rows: Tensor
) -> Tensor:
    """How much each mask (P,) counts: more, the better class and box are predicted; their sum is 1."""
    labels = targets.labels[frame, rows]
    certain = predictions.class_logits[frame, rows, labels - 1].detach().sigmoid()
    weights = certain * paired_iou(targets.boxes_px[frame, rows] / STRIDE, boxes_px / STRIDE, extent=EXTENT)
    return weights / (weights.sum() + _LEAST_SUM)


def _mask_cost(logits: Tensor, inside: Tensor, wanted: Tensor, boxes: Tensor, weights: Tensor) -> Tensor:
    """The mean cross entropy within each predicted box, weighted.

    Args:
        logits, inside: (P, h, w), as `quarter_logits` gives them.
        wanted: (P, h, w) bool, the objects.
        boxes: (P, 4) in cells.
        weights: (P,).
    """
    costs = F.binary_cross_entropy_with_logits(logits, wanted.to(logits), reduction="none")
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return ((costs * inside).flatten(1).sum(dim=1) / areas * weights).sum()


def _track_cost(features: Tensor, known: Tensor, track_ids: Tensor, other: FrameTargets) -> Tensor:
    """Mean cross entropy of features (P, E) with identities (P,) over the objects (M, E) of another frame and a zero,
    which stands for those that are not there.
    """
    products = features @ known.t()
    logits = torch.cat([products.new_zeros(len(features), 1), products], dim=1)
    same = F.pad(track_ids[:, None] == other.track_ids[None], (1, 0))
    same[:, 0] = ~same.any(dim=1)
    return F.cross_entropy(logits, same.int().argmax(dim=1), reduction="sum") / max(1, len(features))
