"""The losses of MaskTrack R-CNN: of proposals, classes, boxes, masks and identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from stmask.models.masktrack_rcnn.boxes import PLAIN_SCALES, REGION_SCALES, encode
from stmask.models.masktrack_rcnn.heads import RegionHeads
from stmask.models.masktrack_rcnn.matching import BoxMatcher, Samples, sample
from stmask.models.masktrack_rcnn.proposals import by_anchor
from stmask.models.masktrack_rcnn.records import RegionMaps
from stmask.number_checks import require_integer, require_number, require_weights
from stmask.structures import Clip, FrameTargets, LossReport

_ANCHORS = BoxMatcher(positive_iou=0.7, negative_iou=0.3, forced_iou=0.3)
_REGIONS = BoxMatcher(positive_iou=0.5, negative_iou=0.5, forced_iou=0.5)


@dataclass(frozen=True, slots=True)
class RegionWeights:
    """Factor of each term.

    Raises:
        ValueError: a factor that is negative or not finite, or nothing to learn from: every factor 0.
    """

    objectness: float = 1.0
    proposal: float = 1.0
    classification: float = 1.0
    box: float = 1.0
    mask: float = 1.0
    track: float = 1.0

    def __post_init__(self) -> None:
        require_weights(**asdict(self))

    def of(self, term: str) -> float:
        """Of a term by its name in reports."""
        factor: float = getattr(self, "classification" if term == "class" else term)
        return factor


@dataclass(frozen=True, slots=True)
class RegionLoss:
    """The five losses of Mask R-CNN and a cross entropy over identities.

    The objects of a clip's first frame are learnt; those of the second, under their annotated boxes, are what their
    track features are compared with.

    Attributes:
        weights: factors of the terms; all 1 in mmtracking.
        anchor_matcher, region_matcher: which anchors and regions show which object.
        anchor_samples: anchors of a frame that are learnt from, at most half of them positive.
        region_samples: regions of a frame likewise; the track head draws its own.
        region_positives: the share of them that is positive at most.
        rpn_beta, box_beta: where the smooth L1 losses of proposals and boxes become linear; 0 is L1. MaskTrack's first
            code: 1/9 and 1.
        track_mean: what the costs of a frame's identities are divided by: how many are among the second frame's
            ("known"), or all of them ("all"), as in MaskTrack's first code.
    """

    weights: RegionWeights = field(default_factory=RegionWeights)
    anchor_matcher: BoxMatcher = _ANCHORS
    region_matcher: BoxMatcher = _REGIONS
    anchor_samples: int = 64
    region_samples: int = 128
    region_positives: float = 0.25
    rpn_beta: float = 0.0
    box_beta: float = 0.0
    track_mean: Literal["known", "all"] = "known"

    def __post_init__(self) -> None:
        require_integer(anchor_samples=self.anchor_samples, region_samples=self.region_samples)
        require_number(rpn_beta=self.rpn_beta, box_beta=self.box_beta)
        require_number(high=1.0, region_positives=self.region_positives)
        if self.track_mean not in ("known", "all"):
            raise ValueError(f"track_mean must be 'known' or 'all', got {self.track_mean!r}")

    def __call__(
        self,
        maps: RegionMaps,
        clip: Clip,
        *,
        heads: RegionHeads,
        reference: Sequence[Tensor],
        anchors_px: Tensor,
        proposals_px: Sequence[Tensor],
        generator: torch.Generator,
    ) -> LossReport:
        """The losses of B clips.

        Args:
            maps: of their first frames.
            clip: their targets.
            heads: of the network.
            reference: the levels of their second frames.
            anchors_px: (A, 4), in the order of `by_anchor`.
            proposals_px: (P, 4) each, without a gradient.
            generator: of what is drawn.
        """
        first, second = ([row[t] for row in clip.targets] for t in (0, 1))
        size = anchors_px.new_tensor(clip.frames.shape[:2:-1] * 2)  # width, height, width, height
        objects = [target.boxes.float() * size for target in first]
        crowds = [target.crowds.float() * size for target in first]
        anchors = [
            sample(
                self.anchor_matcher(anchors_px, boxes, crowds_px=crowd),
                self.anchor_samples,
                positive_share=1 / 2,
                generator=generator,
            )
            for boxes, crowd in zip(objects, crowds, strict=True)
        ]
        regions = [torch.cat([boxes, more]) for boxes, more in zip(objects, proposals_px, strict=True)]

        def drawn() -> list[Samples]:
            return [
                sample(
                    self._matched(boxes, objects=own, crowds=crowd),
                    self.region_samples,
                    positive_share=self.region_positives,
                    generator=generator,
                )
                for boxes, own, crowd in zip(regions, objects, crowds, strict=True)
            ]

        chosen, tracked = drawn(), drawn()
        terms = self._proposal_terms(maps, anchors, anchors_px=anchors_px, objects=objects, targets=first)
        terms |= self._region_terms(maps.levels, chosen, heads=heads, regions=regions, objects=objects, targets=first)
        features = heads.track(heads.box_regions(maps.levels, _of(regions, [one.positive for one in tracked])))
        known = heads.track(heads.box_regions(reference, [target.boxes.float() * size for target in second]))
        ids = [target.track_ids[one.objects] for target, one in zip(first, tracked, strict=True)]
        terms["track"] = self._track_term(features, ids, known=known, known_ids=[one.track_ids for one in second])
        counts = {
            "positive_anchors": sum(len(one.positive) for one in anchors) / len(anchors),
            "positive_regions": sum(len(one.positive) for one in chosen) / len(chosen),
        }
        return LossReport({name: self.weights.of(name) * term for name, term in terms.items()}, counts)

    def _matched(self, regions: Tensor, *, objects: Tensor, crowds: Tensor) -> Tensor:
        """Of regions (N + P, 4), the first of which are the N objects themselves: each shows itself."""
        own = torch.arange(len(objects), device=regions.device)
        return torch.cat([own, self.region_matcher(regions[len(objects) :], objects, crowds_px=crowds)])

    def show_objects(self, labels: Tensor) -> Tensor:
        """Which of the positive anchors, of objects with labels (P,), learn that they show an object: all."""
        return torch.ones_like(labels, dtype=torch.float32)

    def _proposal_terms(
        self,
        maps: RegionMaps,
        samples: Sequence[Samples],
        *,
        anchors_px: Tensor,
        objects: Sequence[Tensor],
        targets: Sequence[FrameTargets],
    ) -> dict[str, Tensor]:
        logits, deltas = (torch.cat(levels, dim=1).float() for levels in by_anchor(maps))  # (B, A), (B, A, 4)
        count = max(1, sum(len(one) for one in samples))
        objectness, box = [], []
        for b, one in enumerate(samples):
            wanted = torch.cat([self.show_objects(targets[b].labels[one.objects]), logits.new_zeros(len(one.negative))])
            objectness.append(
                F.binary_cross_entropy_with_logits(logits[b, one.indices], wanted.to(logits), reduction="sum")
            )
            goal = encode(anchors_px[one.positive], objects[b][one.objects], scales=PLAIN_SCALES)
            box.append(F.smooth_l1_loss(deltas[b, one.positive], goal, reduction="sum", beta=self.rpn_beta))
        return {"objectness": torch.stack(objectness).sum() / count, "proposal": torch.stack(box).sum() / count}

    def _region_terms(
        self,
        levels: Sequence[Tensor],
        samples: Sequence[Samples],
        *,
        heads: RegionHeads,
        regions: Sequence[Tensor],
        objects: Sequence[Tensor],
        targets: Sequence[FrameTargets],
    ) -> dict[str, Tensor]:
        logits, deltas = heads.box(heads.box_regions(levels, _of(regions, [one.indices for one in samples])))
        labels = [target.labels[one.objects] for target, one in zip(targets, samples, strict=True)]
        wanted = torch.cat(
            [F.pad(label, (0, len(one.negative))) for label, one in zip(labels, samples, strict=True)]
        )  # 0 is the background
        positive = wanted.nonzero().flatten()
        label = wanted[positive]
        boxes = _of(regions, [one.positive for one in samples])
        goals = torch.cat(
            [
                encode(mine, own[one.objects], scales=REGION_SCALES)
                for mine, own, one in zip(boxes, objects, samples, strict=True)
            ]
        )
        count = max(1, len(wanted))
        squares = heads.mask(heads.mask_regions(levels, boxes))
        squares = squares[torch.arange(len(label), device=label.device), label - 1]  # (P, 28, 28)
        masks = torch.cat(
            [
                _squares(target.masks[one.objects], mine, side=squares.shape[-1])
                for target, one, mine in zip(targets, samples, boxes, strict=True)
            ]
        )
        box = F.smooth_l1_loss(deltas[positive, label - 1], goals, reduction="sum", beta=self.box_beta)
        mask = F.binary_cross_entropy_with_logits(squares, masks.to(squares), reduction="sum")
        return {
            "class": F.cross_entropy(logits, wanted, reduction="sum") / count,
            "box": box / count,
            "mask": mask / max(1, masks.numel()),
        }

    def _track_term(
        self, features: Tensor, ids: Sequence[Tensor], *, known: Tensor, known_ids: Sequence[Tensor]
    ) -> Tensor:
        """Of features (sum P, E) with ids[b] (P_b,), among known ones (sum M, E) with known_ids[b] (M_b,)."""
        costs = []
        groups = zip(
            torch.split(features, [len(one) for one in ids]),
            torch.split(known, [len(one) for one in known_ids]),
            ids,
            known_ids,
            strict=True,
        )
        for own, others, mine, theirs in groups:
            products = own @ others.t()
            logits = torch.cat([products.new_zeros(len(own), 1), products], dim=1)  # column 0: a new object
            same = F.pad(mine[:, None] == theirs[None], (1, 0))
            same[:, 0] = ~same.any(dim=1)
            wanted = same.int().argmax(dim=1)
            total = F.cross_entropy(logits, wanted, reduction="sum")
            divisor = len(own) if self.track_mean == "all" else int((wanted > 0).sum())
            costs.append(total / max(1, divisor))
        return torch.stack(costs).mean()


def _of(boxes: Sequence[Tensor], indices: Sequence[Tensor]) -> list[Tensor]:
    return [group[index] for group, index in zip(boxes, indices, strict=True)]


def _squares(masks: Tensor, boxes_px: Tensor, *, side: int) -> Tensor:
    """The part of each mask (P, H, W) bool under its box (P, 4): (P, side, side) bool."""
    places = torch.cat([torch.arange(len(masks), device=boxes_px.device)[:, None].to(boxes_px), boxes_px], dim=1)
    cut = roi_align(masks[:, None].to(boxes_px), places, output_size=side, sampling_ratio=-1, aligned=True)
    inside: Tensor = cut[:, 0] >= 0.5
    return inside
