"""Which anchor learns which object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.number_checks import require_number
from stmask.ops.boxes import iou, share_inside, to_corners

PARTS = ("AnchorMatcher",)
NEUTRAL = -1
BACKGROUND = 0
_AMBIGUITY_MARGIN = 0.1
_FORCED = 2.0  # above every IoU


@dataclass(frozen=True, slots=True)
class Matches:
    """For each anchor of one frame.

    Attributes:
        labels: (A,) int64: class 1..K, 0 background, -1 neutral (costs nothing).
        objects: (A,) int64: index of the closest object, 0 where the frame has none.
        track_ids: (A,) int64: identity of that object, 0 for anchors that are not positive.
    """

    labels: Tensor
    objects: Tensor
    track_ids: Tensor

    @property
    def positive(self) -> Tensor:
        return self.labels > BACKGROUND


@dataclass(frozen=True, slots=True)
class AnchorMatcher:
    """Matches anchors to objects by IoU; every object keeps its best anchor.

    Attributes:
        positive_iou: above it an anchor is positive.
        negative_iou: below it an anchor is background; between the two it is neutral.
        ambiguous: anchors that overlap two objects well are neutral.
        quality: anchors count as closer, and both thresholds rise, the better their class is predicted already.
        crowd_share: background anchors are neutral when more than this part of them lies in a crowd region.
    """

    positive_iou: float = 0.5
    negative_iou: float = 0.4
    ambiguous: bool = True
    quality: bool = True
    crowd_share: float = 0.7  # as YOLACT

    def __post_init__(self) -> None:
        require_number(high=1, crowd_share=self.crowd_share)
        if not 0 <= self.negative_iou <= self.positive_iou <= 1:
            raise ValueError(
                f"0 <= negative_iou <= positive_iou <= 1 is needed, got {self.negative_iou} and {self.positive_iou}"
            )

    @torch.no_grad()
    def __call__(
        self,
        anchors: Tensor,
        boxes: Tensor,
        *,
        labels: Tensor,
        track_ids: Tensor,
        class_logits: Tensor,
        crowds: Tensor | None = None,
    ) -> Matches:
        """Matches of one frame.

        Args:
            anchors: (A, 4) cxcywh.
            boxes: (N, 4) xyxy of the objects; N = 0 makes every anchor background.
            labels, track_ids: (N,).
            class_logits: (A, K + 1), the current predictions; only read where `quality`.
            crowds: (M, 4) xyxy of the frame's crowd regions.
        """
        matches = self._to_objects(anchors, boxes, labels=labels, track_ids=track_ids, class_logits=class_logits)
        if crowds is None or len(crowds) == 0:
            return matches
        inside = share_inside(to_corners(anchors), crowds).amax(dim=1) > self.crowd_share
        neutral = torch.where(inside & (matches.labels == BACKGROUND), NEUTRAL, matches.labels)
        return Matches(neutral, matches.objects, matches.track_ids)

    def _to_objects(
        self, anchors: Tensor, boxes: Tensor, *, labels: Tensor, track_ids: Tensor, class_logits: Tensor
    ) -> Matches:
        if len(boxes) == 0:
            zeros = labels.new_zeros(len(anchors))
            return Matches(zeros, zeros, zeros)
        overlaps = iou(to_corners(anchors), boxes)  # (A, N)
        closeness, objects = overlaps.max(dim=1)
        positive_iou = closeness.new_tensor(self.positive_iou)
        negative_iou = closeness.new_tensor(self.negative_iou)
        if self.ambiguous:
            crowded = (overlaps > self.positive_iou - _AMBIGUITY_MARGIN).sum(dim=1) > 1
            closeness = torch.where(crowded, (positive_iou + negative_iou) / 2, closeness)
        if self.quality:
            close = closeness > positive_iou
            cost = F.cross_entropy(class_logits[close].float(), labels[objects[close]], reduction="none")
            gain = 2 / (1 + cost.exp())
            if len(gain):
                closeness = closeness.index_put((close,), closeness[close] + gain)
                positive_iou, negative_iou = positive_iou + gain.mean(), negative_iou + gain.mean()
        forced_anchors, forced_objects = _best_anchors(overlaps)
        closeness[forced_anchors] = _FORCED
        objects[forced_anchors] = forced_objects
        target = labels[objects]
        target = torch.where(closeness < positive_iou, NEUTRAL, target)
        target = torch.where(closeness < negative_iou, BACKGROUND, target)
        ids = torch.where(closeness < positive_iou, 0, track_ids[objects])
        return Matches(target, objects, ids)


def _best_anchors(overlaps: Tensor) -> tuple[Tensor, Tensor]:
    """Anchors and objects, paired greedily by the largest overlap left, each once; never waits for a GPU."""
    left = overlaps.clone()
    count = left.shape[1]
    anchors, objects = [], []
    for _ in range(min(left.shape)):
        best = left.argmax()
        anchors.append(best // count)
        objects.append(best % count)
        left[anchors[-1], :] = -1
        left[:, objects[-1]] = -1
    return torch.stack(anchors), torch.stack(objects)
