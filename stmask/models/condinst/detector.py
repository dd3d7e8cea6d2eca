"""From predictions at points to the instances of a frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from stmask.models.condinst.masks import DrawnMasks, drawn
from stmask.models.condinst.records import CondInstMaps
from stmask.number_checks import require_integer, require_number
from stmask.structures import Instances, RecognisableInstances


@dataclass(frozen=True, slots=True)
class FilterDetector:
    """Chooses points by class, suppresses duplicates by class and centre-ness, and draws the masks of the rest.

    Attributes:
        score_threshold: a point whose probability of a class is higher is considered for it.
        per_level: of each level the most probable ones.
        iou_threshold: those that overlap a better one of the class by more are dropped.
        max_detections: at most this many are kept, over all classes.
    """

    score_threshold: float = 0.05
    per_level: int = 1000
    iou_threshold: float = 0.6
    max_detections: int = 100

    def __post_init__(self) -> None:
        require_number(high=1.0, score_threshold=self.score_threshold, iou_threshold=self.iou_threshold)
        require_integer(per_level=self.per_level, max_detections=self.max_detections)

    @torch.no_grad()
    def __call__(
        self, maps: CondInstMaps, *, image_size: tuple[int, int], input_size: tuple[int, int]
    ) -> list[Instances]:
        """The instances of each of B frames, images of (h, w) pixels in inputs of (H, W).

        A score is the probability of the class times the centre-ness. With embeddings they are `RecognisableInstances`.
        """
        predictions, points = maps.predictions, maps.points
        h, w = image_size
        boxes = points.boxes_px(predictions.distances_px).clamp(min=0)
        boxes = boxes.minimum(boxes.new_tensor((w, h, w, h)))
        quality = predictions.centreness_logits.sigmoid()
        size = boxes.new_tensor(input_size[::-1] * 2)
        found: list[Instances] = []
        for b, probabilities in enumerate(predictions.class_logits.sigmoid()):
            place, kind = self._candidates(probabilities, maps.points.levels)
            has_area = (boxes[b, place, 2:] > boxes[b, place, :2]).all(dim=1)
            place, kind = place[has_area], kind[has_area]
            scores = probabilities[place, kind] * quality[b, place]
            best = batched_nms(boxes[b, place], scores, kind, self.iou_threshold)[: self.max_detections]
            place, kind = place[best], kind[best]
            logits = drawn(
                maps.features[b], maps.filters[b, place], xy_px=points.xy_px[place], strides=points.strides[place]
            )
            one = Instances(boxes[b, place] / size, scores[best], kind + 1, DrawnMasks(logits.sigmoid()))
            if maps.embeddings is not None:
                one = RecognisableInstances(one.boxes, one.scores, one.labels, one.masks, maps.embeddings[b, place])
            found.append(one)
        return found

    def _candidates(self, probabilities: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Points and classes, each (M,), of probabilities (A, K)."""
        place, kind = (probabilities > self.score_threshold).nonzero(as_tuple=True)
        level, values = levels[place], probabilities[place, kind]
        chosen = []
        for number in range(int(levels[-1]) + 1):
            here = (level == number).nonzero().flatten()
            chosen.append(here[values[here].topk(min(self.per_level, len(here))).indices])
        best = torch.cat(chosen)
        return place[best], kind[best]
