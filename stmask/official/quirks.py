"""What the authors' code does that the method does not say, as objects to be injected; QUIRKS.md numbers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.errors import ConfigError
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


@dataclass(frozen=True, slots=True)
class Around:
    """A detector with something done to what it gets and to what it finds."""

    detector: DetectorLike
    before: Callable[[DensePredictions], DensePredictions] | None = None
    after: Callable[[Detections], Detections] | None = None

    def __call__(self, predictions: DensePredictions, index: int = 0) -> Detections:
        found = self.detector(predictions if self.before is None else self.before(predictions), index)
        return found if self.after is None else self.after(found)


def unlimited_across_classes(detector: DetectorLike) -> DetectorLike:
    """Quirk 5: suppression across classes keeps whatever of its top k is left, not the best 100."""

    def change(nms: NMS) -> NMS:
        return replace(nms, max_detections=nms.top_k) if isinstance(nms, CrossClassNMS) else nms

    return _with_suppression(detector, change)


def _with_suppression(detector: DetectorLike, change: Callable[[NMS], NMS]) -> DetectorLike:
    """The detector with another suppression, however deep it lies in wrappers of this module."""
    if isinstance(detector, Around):
        return replace(detector, detector=_with_suppression(detector.detector, change))
    if not isinstance(detector, Detector):
        raise ConfigError("inference.detector_wrappers: those that change the suppression must come first")
    nms = change(detector.nms)
    return detector if nms is detector.nms else Detector(score_threshold=detector.score_threshold, nms=nms)


@dataclass(frozen=True, slots=True)
class ClassOnly:
    """Quirk 6: suppression that leaves centre-ness out of the score."""

    nms: NMS

    def __call__(self, boxes: Tensor, probabilities: Tensor, quality: Tensor) -> Kept:
        return self.nms(boxes, probabilities, torch.ones_like(quality))


def class_only_per_class(detector: DetectorLike) -> DetectorLike:
    """Quirk 6: without temporal fusion, per-class suppression leaves centre-ness out of the score."""
    return _with_suppression(detector, lambda nms: ClassOnly(nms) if isinstance(nms, PerClassNMS) else nms)


def tanh_twice(detector: DetectorLike) -> DetectorLike:
    """Quirk 7: without temporal fusion, coefficients pass through tanh once before suppression, again in the mask."""
    return Around(detector, before=lambda found: replace(found, mask_coeffs=found.mask_coeffs.tanh()))


def binary_masks(detector: DetectorLike) -> DetectorLike:
    """Quirk 8: without temporal fusion, masks become 0 or 1 at prototype resolution, before they are enlarged."""
    return Around(detector, after=lambda found: replace(found, masks=(found.masks > 0.5).to(found.masks.dtype)))
