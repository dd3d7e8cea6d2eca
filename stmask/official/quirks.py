"""What the authors' code does that the method does not say, as objects to be injected; QUIRKS.md numbers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.inference.detector import NMS, Detector, DetectorLike
from stmask.losses.classification import hard_negatives
from stmask.ops.matching import BACKGROUND
from stmask.ops.nms import CrossClassNMS, Kept, PerClassNMS
from stmask.structures import DensePredictions, Detections


class KernelsFirst:
    """Quirk 1: centre-ness in the order kernel, row, column inside a level, yet read with the others' index."""

    def __call__(self, maps: Sequence[Tensor]) -> Tensor:
        """One level's k maps (B, C, h, w) as (B, k * h * w, C)."""
        return torch.cat([one.flatten(2).transpose(1, 2) for one in maps], dim=1)


def misaligned_cross_entropy(class_logits: Tensor, labels: Tensor, *, weights: Tensor, ratio: int = 3) -> Tensor:
    """Quirk 2: as `hard_negative_cross_entropy`, but the positives' weights come first, then the negatives', while the
    costs they multiply are in the order of the anchors.
    """
    negative = hard_negatives(class_logits, labels, ratio=ratio)
    chosen = (labels > BACKGROUND) | negative
    cost = F.cross_entropy(class_logits[chosen], labels[chosen], reduction="none")
    count = int(negative.sum())
    negative_weights = weights.new_full((count,), ratio * len(labels) / max(count, 1))
    return (torch.cat([weights, negative_weights]) * cost).sum() / (ratio + 1)


def unlimited_across_classes(detector: DetectorLike) -> DetectorLike:
    """Quirk 5: suppression across classes keeps whatever of its top k is left, not the best 100."""
    if not isinstance(detector, Detector) or not isinstance(detector.nms, CrossClassNMS):
        return detector
    nms = replace(detector.nms, max_detections=detector.nms.top_k)
    return Detector(score_threshold=detector.score_threshold, nms=nms)


@dataclass(frozen=True, slots=True)
class ClassOnly:
    """Quirk 6: suppression that leaves centre-ness out of the score."""

    nms: NMS

    def __call__(self, boxes: Tensor, probabilities: Tensor, quality: Tensor) -> Kept:
        return self.nms(boxes, probabilities, torch.ones_like(quality))


def class_only_per_class(detector: DetectorLike) -> DetectorLike:
    """Quirk 6: without temporal fusion, per-class suppression leaves centre-ness out of the score."""
    if not isinstance(detector, Detector) or not isinstance(detector.nms, PerClassNMS):
        return detector
    return Detector(score_threshold=detector.score_threshold, nms=ClassOnly(detector.nms))


def tanh_twice(detector: DetectorLike) -> DetectorLike:
    """Quirk 7: without temporal fusion, coefficients pass through tanh once before suppression, again in the mask."""

    def detect(predictions: DensePredictions, index: int = 0) -> Detections:
        return detector(replace(predictions, mask_coeffs=predictions.mask_coeffs.tanh()), index)

    return detect


def binary_masks(detector: DetectorLike) -> DetectorLike:
    """Quirk 8: without temporal fusion, masks become 0 or 1 at prototype resolution, before they are enlarged."""

    def detect(predictions: DensePredictions, index: int = 0) -> Detections:
        found = detector(predictions, index)
        return replace(found, masks=(found.masks > 0.5).to(found.masks.dtype))

    return detect
