"""From proposals to the instances of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

from stmask.models.masktrack_rcnn.boxes import REGION_SCALES, Size, decode
from stmask.models.masktrack_rcnn.heads import RegionHeads
from stmask.number_checks import require_integer, require_number
from stmask.structures import BoxedMasks, RecognisableInstances


@dataclass(frozen=True, slots=True)
class RegionDetector:
    """Classifies proposals, moves their boxes, suppresses duplicates, and looks at the rest again for their masks.

    Attributes:
        score_threshold: a region whose probability of a class is higher is considered for it; MaskTrack's first code:
            0.05.
        iou_threshold: those that overlap a better one of the class by more are dropped.
        max_detections: at most this many are kept, over all classes; MaskTrack's first code: 10.
    """

    score_threshold: float = 0.01
    iou_threshold: float = 0.5
    max_detections: int = 100

    def __post_init__(self) -> None:
        require_number(high=1.0, score_threshold=self.score_threshold, iou_threshold=self.iou_threshold)
        require_integer(max_detections=self.max_detections)

    @torch.no_grad()
    def __call__(
        self,
        heads: RegionHeads,
        levels: Sequence[Tensor],
        proposals_px: Sequence[Tensor],
        *,
        image_size: Size,
        input_size: Size,
    ) -> list[RecognisableInstances]:
        """The instances of each of B frames, images of (h, w) pixels in inputs of (H, W), from proposals_px[b] (P, 4).

        levels: P2, P3, .., each (B, C, h, w).
        """
        logits, deltas = heads.box(heads.box_regions(levels, proposals_px))
        counts = [len(boxes) for boxes in proposals_px]
        outputs = zip(proposals_px, logits.split(counts), deltas.split(counts), strict=True)
        kept = [self._kept(*of_frame, image_size=image_size) for of_frame in outputs]
        boxes, labels = [one[0] for one in kept], torch.cat([one[2] for one in kept])
        masks = heads.mask(heads.mask_regions(levels, boxes))
        masks = masks[torch.arange(len(labels), device=labels.device), labels - 1].sigmoid()  # (sum N, 28, 28)
        features = heads.track(heads.box_regions(levels, boxes))
        counts = [len(group) for group in boxes]
        size = levels[0].new_tensor((*input_size[::-1], *input_size[::-1]), dtype=torch.float32)
        return [
            RecognisableInstances(
                boxes=box / size,
                scores=score,
                labels=label,
                masks=_framed(mask, box / size),
                track_features=feature,
            )
            for (box, score, label), mask, feature in zip(
                kept, masks.split(counts), features.split(counts), strict=True
            )
        ]

    def _kept(
        self, proposals_px: Tensor, logits: Tensor, deltas: Tensor, *, image_size: Size
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (N, 4) in pixels, scores (N,) and labels (N,) of one frame, best first."""
        probabilities = logits.softmax(dim=1)[:, 1:]  # (P, K)
        boxes = decode(deltas, proposals_px[:, None], scales=REGION_SCALES, image_size=image_size)  # (P, K, 4)
        region, kind = (probabilities > self.score_threshold).nonzero(as_tuple=True)
        scores, boxes = probabilities[region, kind], boxes[region, kind]
        best = batched_nms(boxes, scores, kind, self.iou_threshold)[: self.max_detections]
        return boxes[best], scores[best], kind[best] + 1


def _framed(squares: Tensor, boxes: Tensor) -> BoxedMasks:
    """Squares (N, s, s) that fade to 0 across the sides of their boxes (N, 4), as Mask R-CNN's do."""
    cell = (boxes[:, 2:] - boxes[:, :2]) / squares.shape[-1]
    return BoxedMasks(F.pad(squares, (1, 1, 1, 1)), torch.cat([boxes[:, :2] - cell, boxes[:, 2:] + cell], dim=1))
