"""Which detection continues which track: equations 15 and 16. Pure functions on tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from stmask.errors import ConfigError
from stmask.number_checks import require_number
from stmask.ops import boxes as box_ops
from stmask.structures import Instances

NEW_TRACK = -1
DROPPED = -2


@dataclass(frozen=True, slots=True)
class MatchWeights:
    """a_0 to a_4 of equation 15.

    Attributes:
        score: a_0, of the detection's own score. It speaks for joining any track rather than starting a new one.
        embedding: a_1, of the embeddings' cosine, mapped to [0, 1]; 0 for models without embeddings.
        mask_iou: a_2, of the masks' IoU.
        box_iou: a_3.
        label: a_4, of having the same class.
    """

    score: float = 0.0
    embedding: float = 1.0
    mask_iou: float = 1.0
    box_iou: float = 2.0
    label: float = 0.0

    def __post_init__(self) -> None:
        require_number(**asdict(self))


@dataclass(frozen=True, slots=True)
class NewObject:
    """The imaginary track that a detection must resemble less than a real one to join that; else it starts a track.

    Attributes:
        cosine: of the embeddings, in [-1, 1].
        mask_iou, box_iou: overlaps with it.
        label: 1 if it counts as one of the same class, 0 if not.
    """

    cosine: float = 0.0
    mask_iou: float = 0.3
    box_iou: float = 0.3
    label: float = 1.0

    def __post_init__(self) -> None:
        require_number(low=-1.0, high=1.0, cosine=self.cosine)
        require_number(high=1.0, mask_iou=self.mask_iou, box_iou=self.box_iou, label=self.label)

    def score(self, weights: MatchWeights) -> float:
        """The value s of equation 15 for the imaginary track."""
        return (
            weights.embedding * (1 + self.cosine) / 2
            + weights.mask_iou * self.mask_iou
            + weights.box_iou * self.box_iou
            + weights.label * self.label
        )


DEFAULT_WEIGHTS = MatchWeights()
DEFAULT_NEW_OBJECT = NewObject()


def match_scores(detections: Instances, tracks: Instances, weights: MatchWeights) -> Tensor:
    """Equation 15: s (N, M) of each of N detections with each of M tracks.

    Raises:
        ConfigError: embeddings have a weight, and the model's instances have none.
    """
    return weighted(
        weights,
        scores=detections.scores,
        cosines=_embeddings(detections) @ _embeddings(tracks).t() if weights.embedding else None,
        mask_iou=detections.masks.iou(tracks.masks),
        box_iou=box_ops.iou(detections.boxes, tracks.boxes),
        same_label=detections.labels[:, None] == tracks.labels[None, :],
    )


def weighted(
    weights: MatchWeights,
    *,
    scores: Tensor,
    cosines: Tensor | None,
    mask_iou: Tensor,
    box_iou: Tensor,
    same_label: Tensor,
) -> Tensor:
    """The sum of equation 15 from its terms: scores (..., N) of the detections, the others (..., N, M)."""
    total = weights.score * scores[..., :, None]
    if cosines is not None:
        total = total + weights.embedding * (1 + cosines) / 2
    return total + weights.mask_iou * mask_iou + weights.box_iou * box_iou + weights.label * same_label.to(total.dtype)


def _embeddings(instances: Instances) -> Tensor:
    """(N, E) of unit length."""
    embeddings = getattr(instances, "embeddings", None)
    if not isinstance(embeddings, Tensor):
        raise ConfigError(
            "this tracker compares embeddings, which the model's instances do not have: give model/tracker=iou, or "
            "model.tracker.weights.embedding=0"
        )
    return embeddings


def assign(scores: Tensor, detection_scores: Tensor, *, new_object_score: float | Tensor) -> Tensor:
    """Equation 16: the track of each detection.

    Args:
        scores: (..., N, M), the value of each detection for each track; of equal ones the first track counts.
        detection_scores: (..., N). Where several detections choose one track, the highest of these (the first of equal
            ones) has it.
        new_object_score: a detection that scores no more than this with every track starts a new one; one for all, or
            (..., N).

    Returns:
        (..., N) int64: index of a track, `NEW_TRACK`, or `DROPPED` for a detection that lost its track to another.
    """
    n, m = scores.shape[-2:]
    if n == 0 or m == 0:
        return torch.full(scores.shape[:-1], NEW_TRACK, dtype=torch.int64, device=scores.device)
    best, choice = scores.max(dim=-1)
    joins = best > new_object_score
    order = detection_scores.argsort(descending=True, stable=True)
    rank = torch.empty_like(order).scatter(-1, order, torch.arange(n, device=scores.device).expand_as(order))
    nobody = torch.full((*scores.shape[:-2], m), n, device=scores.device)
    first = nobody.scatter_reduce(-1, choice, torch.where(joins, rank, n), reduce="amin")
    winner_or_dropped = torch.where(rank == first.gather(-1, choice), choice, DROPPED)
    return torch.where(joins, winner_or_dropped, NEW_TRACK)
