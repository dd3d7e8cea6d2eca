"""Behaviour of the authors' code beyond the method, as parts to be injected; QUIRKS.md numbers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.models.stmask import Branches, Criterion, DensePredictions, Detections, Detector, PredictionHead
from stmask.models.stmask.detector import NMS
from stmask.models.stmask.losses.box import centerness_loss
from stmask.models.stmask.losses.classification import hard_negatives
from stmask.models.stmask.losses.mask import cropped_mask_bce
from stmask.models.stmask.losses.positives import Positives
from stmask.ops.matching import BACKGROUND
from stmask.ops.nms import Kept, PerClassNMS
from stmask.structures import DenseMasks
from stmask.tracking import Comparison, MemoryTracker
from stmask.tracking.association import DROPPED, NEW_TRACK

_OF_THE_LOSSES, _OF_THE_DETECTOR = (2, 3, 4), (6, 7, 8)
PARTS = ("KernelsFirstHead", "ReleasedCriterion", "SharingTracker", "UnfusedDetector")


class KernelsFirstHead(PredictionHead):
    """Quirk 1: centre-ness in the order kernel, row, column inside a level, yet read with the others' index."""

    @staticmethod
    def centerness_of(maps: Sequence[Tensor]) -> Tensor:
        """One level's k maps (B, 1, h, w) as (B, k * h * w, 1)."""
        return torch.cat([one.flatten(2).transpose(1, 2) for one in maps], dim=1)


@dataclass(frozen=True, slots=True)
class ReleasedCriterion(Criterion):
    """Quirks 2 to 4, of the losses.

    Attributes:
        quirks: those that it has.
    """

    quirks: tuple[int, ...] = _OF_THE_LOSSES

    def __post_init__(self) -> None:
        Criterion.__post_init__(self)
        _require(self.quirks, among=_OF_THE_LOSSES)

    def class_cost(self, class_logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Quirk 2: the positives' weights come first, then the negatives', while the costs they multiply are in the
        order of the anchors.
        """
        if 2 not in self.quirks:
            return Criterion.class_cost(self, class_logits, labels, weights)
        negative = hard_negatives(class_logits, labels, ratio=self.negative_ratio)
        chosen = (labels > BACKGROUND) | negative
        cost = F.cross_entropy(class_logits[chosen], labels[chosen], reduction="none")
        count = int(negative.sum())
        negative_weights = weights.new_full((count,), self.negative_ratio * len(labels) / max(count, 1))
        return (torch.cat([weights, negative_weights]) * cost).sum() / (self.negative_ratio + 1)

    def centerness_cost(self, centerness: Tensor, positives: Positives) -> Tensor:
        """Quirk 3: it moves the predicted boxes too."""
        if 3 not in self.quirks:
            return Criterion.centerness_cost(self, centerness, positives)
        return centerness_loss(
            centerness, positives.boxes, target_boxes=positives.target_boxes, weights=positives.weights
        )

    def mask_costs(
        self, logits: Tensor, *, boxes: Tensor, target_masks: Tensor, objects: Tensor, min_side: float = 1.0
    ) -> Tensor:
        """Quirk 4: pixels outside the crop count, where the mask is zero whatever is predicted."""
        return cropped_mask_bce(
            logits,
            boxes=boxes,
            target_masks=target_masks,
            objects=objects,
            min_side=min_side,
            full_resolution=self.mask_full_resolution,
            inside_only=4 not in self.quirks,
        )


class UnfusedDetector(Detector):
    """Quirks 6 to 8, of networks without temporal fusion.

    Args:
        score_threshold, nms: as of `Detector`.
        quirks: those that it has.
    """

    def __init__(
        self, *, score_threshold: float = 0.05, nms: NMS | None = None, quirks: Sequence[int] = _OF_THE_DETECTOR
    ) -> None:
        super().__init__(score_threshold=score_threshold, nms=nms)
        self.quirks = _require(quirks, among=_OF_THE_DETECTOR)

    def __call__(self, predictions: DensePredictions, index: int = 0) -> Detections:
        """The instances of frame `index` of a batch.

        Quirk 6: suppression within each class leaves centre-ness out of the score. Quirk 7: coefficients pass through
        tanh once before suppression, again in the mask. Quirk 8: masks become 0 or 1 at the prototypes' resolution,
        before they are enlarged.
        """
        detector = Detector(score_threshold=self.score_threshold, nms=self.suppress if 6 in self.quirks else self.nms)
        if 7 in self.quirks:
            predictions = replace(predictions, branches=_Changed(predictions.branches, self.squash))
        found = detector(predictions, index)
        return replace(found, masks=self.binarise(found.masks)) if 8 in self.quirks else found

    @staticmethod
    def squash(mask_coeffs: Tensor) -> Tensor:
        """Quirk 7."""
        return mask_coeffs.tanh()

    @staticmethod
    def binarise(masks: DenseMasks) -> DenseMasks:
        """Quirk 8."""
        return DenseMasks(masks.binary().to(masks.probabilities.dtype))

    def suppress(self, boxes: Tensor, probabilities: Tensor, quality: Tensor, *, score_threshold: float) -> Kept:
        """Quirk 6."""
        quality = torch.ones_like(quality) if isinstance(self.nms, PerClassNMS) else quality
        return self.nms(boxes, probabilities, quality, score_threshold=score_threshold)


class SharingTracker(MemoryTracker):
    """Quirk 10, of mmtracking: a detection that takes a track from an earlier one of the frame shares it with that."""

    def assigned(self, found: Comparison) -> Tensor:
        """As of the other tracker, but that only detections that come after a better one are left out."""
        best: dict[int, float] = {}
        rows = []
        for values, new in zip(found.values, found.new.tolist(), strict=True):
            top, choice = (float(values.max()), int(values.argmax())) if len(values) else (new, 0)
            if top <= new:
                rows.append(NEW_TRACK)
            elif top > best.get(choice, -torch.inf):
                best[choice] = top
                rows.append(choice)
            else:
                rows.append(DROPPED)
        return torch.tensor(rows, dtype=torch.int64, device=found.new.device)


def _require(quirks: Sequence[int], *, among: Sequence[int]) -> frozenset[int]:
    if unknown := [number for number in quirks if number not in among]:
        raise ValueError(f"quirks must be some of {', '.join(map(str, among))}, got {unknown[0]!r}")
    return frozenset(quirks)


@dataclass(frozen=True, slots=True)
class _Changed:
    """Branches whose coefficients are changed."""

    branches: Branches
    change: Callable[[Tensor], Tensor]

    def at(self, frames: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        mask_coeffs, embeddings = self.branches.at(frames, anchors)
        return self.change(mask_coeffs), embeddings

    def everywhere(self) -> tuple[Tensor, Tensor]:
        mask_coeffs, embeddings = self.branches.everywhere()
        return self.change(mask_coeffs), embeddings
