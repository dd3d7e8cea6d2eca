"""From predictions at points to the instances of a frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stmask.models.layers.fcos import Points, by_point
from stmask.models.sipmask.masks import STRIDE, quarter_logits
from stmask.models.sipmask.records import SipMaskMaps
from stmask.models.sipmask.rescoring import MaskRescorer
from stmask.number_checks import require_integer, require_number
from stmask.ops.nms import PerClassNMS
from stmask.structures import DenseMasks, RecognisableInstances

EXTENT = 1.0
"""Pixels that a box of the network must be longer by to reach the far side of its last pixel, as other boxes do."""
TRACK_STRIDE = 8
_NMS = PerClassNMS(iou_threshold=0.5, top_k=200, max_detections=10)


@dataclass(frozen=True, slots=True)
class PointDetector:
    """Chooses points by class and centre-ness, suppresses duplicates, and puts masks together for the rest.

    Attributes:
        per_level: the best points of each level are considered.
        score_threshold: of a class probability times centre-ness, above which a point is an instance.
        nms: suppression of duplicates.
    """

    per_level: int = 200
    score_threshold: float = 0.03
    nms: PerClassNMS = field(default=_NMS)

    def __post_init__(self) -> None:
        require_integer(per_level=self.per_level)
        require_number(high=1.0, score_threshold=self.score_threshold)

    @torch.no_grad()
    def __call__(
        self,
        maps: SipMaskMaps,
        *,
        image_size: tuple[int, int],
        input_size: tuple[int, int],
        rescorer: MaskRescorer | None = None,
    ) -> list[RecognisableInstances]:
        """The instances of each of B frames, images of (h, w) pixels in inputs of (H, W)."""
        points, predictions = Points.of(maps.class_logits), maps.by_point()
        probabilities, quality = predictions.class_logits.sigmoid(), predictions.centreness_logits.sigmoid()
        boxes = points.boxes_px(predictions.distances_px)
        h, w = image_size
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor((w, h, w, h)) - EXTENT)
        coefficients = by_point(maps.coefficients).float()
        found = []
        for b in range(len(boxes)):
            rows = self._best((probabilities[b] * quality[b, :, None]).amax(dim=1), points)
            kept = self.nms(
                boxes[b, rows], probabilities[b, rows], quality[b, rows], score_threshold=self.score_threshold
            )
            rows = rows[kept.indices]
            box = boxes[b, rows]
            logits, inside = quarter_logits(maps.prototypes[b].float(), coefficients[b, rows], box / STRIDE)
            masks, scores = logits.sigmoid() * inside, kept.scores
            if rescorer is not None:
                scores = rescorer.rescored(scores, masks, kept.labels)
            size = box.new_tensor(input_size[::-1] * 2)
            instances = RecognisableInstances(
                boxes=(box + box.new_tensor([0, 0, EXTENT, EXTENT])) / size,
                scores=scores,
                labels=kept.labels,
                masks=DenseMasks(masks),
                track_features=features_at(maps.track[b], box),
            )
            found.append(instances if rescorer is None else instances[scores.argsort(descending=True, stable=True)])
        return found

    def _best(self, scores: Tensor, points: Points) -> Tensor:
        """The places of the best points of each level, of scores (A,)."""
        chosen, start = [], 0
        for count in points.levels.bincount().tolist():
            level = scores[start : start + count]
            chosen.append(start + level.topk(min(self.per_level, count)).indices)
            start += count
        return torch.cat(chosen)


def features_at(track: Tensor, boxes_px: Tensor) -> Tensor:
    """The features (N, E) of a track map (E, h, w) at the centres of boxes (N, 4) in pixels, within the map."""
    h, w = track.shape[1:]
    cells = ((boxes_px[:, :2] + boxes_px[:, 2:]) / 2 / TRACK_STRIDE).floor().nan_to_num().long()
    return track[:, cells[:, 1].clamp(0, h - 1), cells[:, 0].clamp(0, w - 1)].t()
