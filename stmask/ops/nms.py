"""Fast non-maximum suppression (YOLACT): an instance goes when any better one overlaps it, one that went included.

Unlike the sequential kind it is one matrix comparison, so it costs the same for few and many instances of the top k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stmask.number_checks import require_integer, require_number
from stmask.ops import boxes as box_ops

PARTS = ("CrossClassNMS", "PerClassNMS")


class Kept(NamedTuple):
    """The M survivors, best first.

    Attributes:
        indices: (M,) int64 into the N inputs; per-class suppression can keep one input under several labels.
        labels: (M,) int64 in 1..K.
        scores: (M,).
    """

    indices: Tensor
    labels: Tensor
    scores: Tensor


def unsuppressed(boxes: Tensor, *, iou_threshold: float | Tensor) -> Tensor:
    """Which boxes (..., N, 4), sorted best first, overlap no better one by more than the threshold: (..., N) bool.

    The threshold may be one of each pair of boxes, (..., N, N).
    """
    n = boxes.shape[-2]
    if n == 0:
        return torch.ones(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
    overlaps = box_ops.paired_iou(boxes[..., :, None, :], boxes[..., None, :, :]).triu(diagonal=1)  # (..., N, N)
    return (overlaps <= iou_threshold).all(dim=-2)


@dataclass(frozen=True, slots=True)
class CrossClassNMS:
    """Every box competes with all others under its best class.

    Attributes:
        iou_threshold: boxes that overlap a better one by more are dropped.
        top_k: only this many of the best are compared at all.
        max_detections: at most this many are kept.
        other_class_iou: in place of `iou_threshold` where the better box is of another class; None: no difference.
            Above it, objects of different classes may overlap more, and one object is not found as two.
    """

    iou_threshold: float = 0.5
    top_k: int = 200
    max_detections: int = 100
    other_class_iou: float | None = None

    def __post_init__(self) -> None:
        _check(self)
        if self.other_class_iou is not None:
            require_number(high=1.0, other_class_iou=self.other_class_iou)

    def __call__(self, boxes: Tensor, probabilities: Tensor, quality: Tensor, *, score_threshold: float = 0.0) -> Kept:
        """Boxes (N, 4) xyxy, probabilities (N, K) of the foreground classes and a factor (N,) on each box's score.

        All boxes compete, whatever the threshold. The class is the most probable one, whatever the sign of the
        quality.
        """
        if boxes.shape[0] == 0:
            return _nothing(probabilities)
        best, classes = probabilities.max(dim=1)
        best = best * quality
        order = best.argsort(descending=True, stable=True)[: self.top_k]
        keep = order[unsuppressed(boxes[order], iou_threshold=self._limits(classes[order]))][: self.max_detections]
        return Kept(keep, classes[keep] + 1, best[keep])

    # the same in two steps for B frames, with numbers of boxes that are the same whatever is in them

    def best(self, scores: Tensor) -> Tensor:
        """The `top_k` best, best first, of scores (B, A): their indices (B, k); of equal ones the first comes first.

        What does not compete has the score -inf.
        """
        a = scores.shape[1]
        bits = (scores + 0.0).view(torch.int32)  # -0.0 becomes 0.0
        rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()  # whole numbers in the order of the scores
        keys = (rising << 32) - torch.arange(a, device=scores.device)  # all different
        return keys.topk(min(self.top_k, a), dim=1).indices

    def kept(self, boxes: Tensor, classes: Tensor, competes: Tensor) -> tuple[Tensor, Tensor]:
        """Which survive of boxes (B, k, 4), sorted best first, of which those with `competes` (B, k) come first.

        Their classes are (B, k).

        Returns:
            Indices (B, n) into the k, with n = `max_detections`, best first, and whether there is one (B, n).
        """
        b, k = competes.shape
        n = min(self.max_detections, k)
        keep = unsuppressed(boxes, iou_threshold=self._limits(classes)) & competes
        ranks = keep.cumsum(dim=1) - 1
        places = torch.where(keep & (ranks < n), ranks, n)  # the last place is for those that are dropped
        indices = torch.zeros(b, n + 1, dtype=torch.int64, device=boxes.device)
        indices = indices.scatter(1, places, torch.arange(k, device=boxes.device).expand(b, k))[:, :n]
        return indices, torch.arange(n, device=boxes.device) < keep.sum(dim=1, keepdim=True)

    def _limits(self, classes: Tensor) -> float | Tensor:
        """The IoU that is allowed between boxes of these classes (..., N)."""
        if self.other_class_iou is None:
            return self.iou_threshold
        return torch.where(classes[..., :, None] == classes[..., None, :], self.iou_threshold, self.other_class_iou)


@dataclass(frozen=True, slots=True)
class PerClassNMS:
    """Boxes compete within each class; one box may be kept under several classes.

    Attributes:
        iou_threshold: boxes that overlap a better one of the class by more are dropped.
        top_k: only this many of the best of each class are compared at all.
        max_detections: at most this many are kept, over all classes.
    """

    iou_threshold: float = 0.5
    top_k: int = 200
    max_detections: int = 100

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, boxes: Tensor, probabilities: Tensor, quality: Tensor, *, score_threshold: float = 0.05) -> Kept:
        """Boxes (N, 4) xyxy, probabilities (N, K) of the foreground classes and a factor (N,) on each box's score.

        A box that scores `score_threshold` or less for a class is not an instance of it.
        """
        if boxes.shape[0] == 0:
            return _nothing(probabilities)
        scores = probabilities * quality[:, None]
        ranked, order = scores.t().sort(dim=1, descending=True, stable=True)  # (K, N)
        ranked, order = ranked[:, : self.top_k], order[:, : self.top_k]
        keep = unsuppressed(boxes[order], iou_threshold=self.iou_threshold) & (ranked > score_threshold)
        classes, ranks = keep.nonzero(as_tuple=True)
        kept_scores = ranked[classes, ranks]
        best = kept_scores.argsort(descending=True, stable=True)[: self.max_detections]
        return Kept(order[classes, ranks][best], classes[best] + 1, kept_scores[best])


def _check(nms: CrossClassNMS | PerClassNMS) -> None:
    require_number(high=1.0, iou_threshold=nms.iou_threshold)
    require_integer(top_k=nms.top_k, max_detections=nms.max_detections)


def _nothing(scores: Tensor) -> Kept:
    none = torch.zeros(0, dtype=torch.int64, device=scores.device)
    return Kept(none, none, scores.new_zeros(0))
