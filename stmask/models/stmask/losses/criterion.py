"""All losses of a batch: matches once, owns the weights, gives named scalars."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.errors import ConfigError
from stmask.models.stmask.losses.box import centerness_loss, diou_loss, smooth_l1_box_loss
from stmask.models.stmask.losses.classification import hard_negative_cross_entropy
from stmask.models.stmask.losses.mask import crop_boxes, cropped_mask_bce
from stmask.models.stmask.losses.positives import Positives, gather_positives
from stmask.models.stmask.losses.temporal import TrainableTemporalModule, shift_losses
from stmask.models.stmask.losses.tracking import embedding_loss
from stmask.models.stmask.records import DensePredictions
from stmask.number_checks import require_integer, require_number, require_weights
from stmask.ops.masks import combine_frames
from stmask.ops.matching import AnchorMatcher, AnchorMatches
from stmask.structures import FrameTargets, LossReport

BOX_LOSSES = ("diou", "smooth_l1")
"""The values of `Criterion.box_loss`."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Factor of each term; a term with weight 0 is not computed.

    Raises:
        ValueError: a factor that is negative or not finite, or nothing to learn from: every factor 0.
    """

    box: float = 5.0
    classification: float = 6.125
    centerness: float = 20.0
    mask: float = 6.125
    track: float = 5.0
    shift_box: float = 5.0
    shift_mask: float = 6.125

    def __post_init__(self) -> None:
        require_weights(**asdict(self))


@dataclass(frozen=True, slots=True)
class Criterion:
    """The losses of STMask for clips of T frames.

    Attributes:
        weights: factors of the terms.
        matcher: anchors to objects.
        box_loss: "diou" (the release) or "smooth_l1" (YOLACT).
        negative_ratio: hard negatives per positive.
        mask_crop: growth of the predicted box to which a mask is cropped.
        mask_full_resolution: masks are compared at the input's size (the release) or at the prototypes' (cheaper).
        max_masks: at most this many positives of a frame, drawn at random, get a mask and a shift loss; None for all.
    """

    weights: LossWeights = field(default_factory=LossWeights)
    matcher: AnchorMatcher = field(default_factory=AnchorMatcher)
    box_loss: str = "diou"
    negative_ratio: int = 3
    mask_crop: float = 1.2
    mask_full_resolution: bool = True
    max_masks: int | None = None

    def __post_init__(self) -> None:
        if self.box_loss not in BOX_LOSSES:
            raise ValueError(f"box_loss must be one of {', '.join(BOX_LOSSES)}, got {self.box_loss!r}")
        require_integer(negative_ratio=self.negative_ratio)
        require_number(open_low=True, mask_crop=self.mask_crop)
        if self.max_masks is not None:
            require_integer(max_masks=self.max_masks)

    def __call__(
        self,
        predictions: DensePredictions,
        targets: tuple[FrameTargets, ...],
        *,
        clip_length: int,
        temporal: TrainableTemporalModule | None = None,
        generator: torch.Generator | None = None,
    ) -> LossReport:
        """Losses of F frames, clip by clip.

        Args:
            predictions: of the F frames.
            targets: F of them.
            clip_length: T; frames t and t + 1 of a clip are a pair for the temporal losses.
            temporal: the network's temporal fusion, or None.
            generator: draws the positives that `max_masks` keeps, on the CPU; None is PyTorch's own.

        Raises:
            ConfigError: no term is left to learn from.
        """
        device = predictions.box_deltas.device.type
        with torch.autocast(device, enabled=False):
            predictions = predictions.float()
            matches = self._match(predictions, targets, clip_length)
            positives = gather_positives(predictions, matches, targets)
            terms = self._frame_terms(predictions, matches, positives, targets, generator)
        if temporal is not None and (self.weights.shift_box or self.weights.shift_mask):
            shift_box, shift_mask = shift_losses(
                temporal,
                predictions,
                self._limited(positives, generator),
                targets,
                clip_length=clip_length,
                mask_costs=self.mask_costs,
            )
            terms["shift_box"] = self.weights.shift_box * shift_box
            terms["shift_mask"] = self.weights.shift_mask * shift_mask
        if not terms:
            raise ConfigError(
                "model.loss.weights: only terms that this network lacks are above 0, so nothing is learned"
            )
        counts = {"positives": float(len(positives))}
        return LossReport(terms, counts, idle=self._idle(predictions, positives, temporal, terms))

    @staticmethod
    def _idle(
        predictions: DensePredictions,
        positives: Positives,
        temporal: TrainableTemporalModule | None,
        terms: dict[str, Tensor],
    ) -> Tensor:
        """0 by way of every output that no term computes with; see `LossReport`."""
        outputs = {
            "box": [predictions.box_deltas],
            "class": [predictions.class_logits],
            "centerness": [] if predictions.centerness is None else [predictions.centerness],
            "mask": [positives.mask_coeffs, predictions.prototypes],
            "track": [positives.embeddings],
            "shift_mask": [] if temporal is None else list(temporal.parameters()),
        }
        unused = [output for name, ours in outputs.items() if name not in terms for output in ours]
        nothing = [output.flatten()[:0].sum().float() for output in unused]  # 0 also where an output is not finite
        return torch.stack([predictions.box_deltas.new_zeros(()), *nothing]).sum()

    def _match(
        self, predictions: DensePredictions, targets: tuple[FrameTargets, ...], clip_length: int
    ) -> list[AnchorMatches]:
        """Identities are told apart between clips: annotation files may count them anew in each video."""
        span = 1 + max((int(t.track_ids.max()) for t in targets if len(t)), default=0)
        return [
            self.matcher(
                predictions.anchors,
                target.boxes.float(),
                labels=target.labels,
                track_ids=target.track_ids + span * (frame // clip_length),
                class_logits=predictions.class_logits[frame],
                crowds=target.crowds.float(),
            )
            for frame, target in enumerate(targets)
        ]

    def _frame_terms(
        self,
        predictions: DensePredictions,
        matches: list[AnchorMatches],
        positives: Positives,
        targets: tuple[FrameTargets, ...],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        weights, frames = self.weights, len(targets)
        labels = torch.stack([match.labels for match in matches])
        terms: dict[str, Tensor] = {}
        if weights.box:
            if self.box_loss == "diou":
                box = diou_loss(positives.boxes, positives.target_boxes, positives.weights)
            else:
                box = smooth_l1_box_loss(
                    positives.of(predictions.box_deltas),
                    positives.target_boxes,
                    anchors=predictions.anchors[positives.anchors],
                    weights=positives.weights,
                )
            terms["box"] = weights.box * box / frames
        if weights.classification:
            cost = self.class_cost(predictions.class_logits, labels, positives.weights)
            terms["class"] = weights.classification * cost / frames
        if weights.centerness and predictions.centerness is not None:
            cost = self.centerness_cost(positives.of(predictions.centerness), positives)
            terms["centerness"] = weights.centerness * cost / frames
        if weights.mask:
            limited = self._limited(positives, generator)
            terms["mask"] = weights.mask * self._mask_term(predictions, limited, targets) / frames
        if weights.track:
            cost = embedding_loss(positives.embeddings, positives.track_ids, positives.weights)
            terms["track"] = weights.track * cost
        return terms

    def _mask_term(
        self, predictions: DensePredictions, positives: Positives, targets: tuple[FrameTargets, ...]
    ) -> Tensor:
        costs = self.mask_costs(
            combine_frames(predictions.prototypes, positives.mask_coeffs, positives.frames),
            boxes=crop_boxes(positives.boxes, factor=self.mask_crop),
            target_masks=torch.cat([target.masks for target in targets]),
            objects=positives.rows,
        )
        return torch.dot(positives.weights, costs)

    def class_cost(self, class_logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Loss of class logits (F, A, K + 1) for labels (F, A), the positives weighing (P,), summed over frames."""
        return hard_negative_cross_entropy(class_logits, labels, weights=weights, ratio=self.negative_ratio)

    def centerness_cost(self, centerness: Tensor, positives: Positives) -> Tensor:
        """Loss of the positives' centre-ness (P,), which learns the quality of their boxes and does not move them."""
        return centerness_loss(
            centerness, positives.boxes.detach(), target_boxes=positives.target_boxes, weights=positives.weights
        )

    def mask_costs(
        self, logits: Tensor, *, boxes: Tensor, target_masks: Tensor, objects: Tensor, min_side: float = 1.0
    ) -> Tensor:
        """Loss of P masks, each inside its box; see `cropped_mask_bce`."""
        return cropped_mask_bce(
            logits,
            boxes=boxes,
            target_masks=target_masks,
            objects=objects,
            min_side=min_side,
            full_resolution=self.mask_full_resolution,
        )

    def _limited(self, positives: Positives, generator: torch.Generator | None) -> Positives:
        """At most `max_masks` positives of each frame, reweighted so that each frame still weighs 1."""
        if self.max_masks is None or len(positives) <= self.max_masks:
            return positives
        order = torch.rand(len(positives), generator=generator).argsort().to(positives.frames.device)
        keys = positives.frames[order]
        rank_in_frame = F.one_hot(keys).cumsum(0).gather(1, keys[:, None]).squeeze(1)
        kept = order[rank_in_frame <= self.max_masks].sort().values
        return positives.select(kept)
