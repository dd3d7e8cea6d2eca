"""How well detections go with tracks: what a `MemoryTracker` is given."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from stmask.errors import ConfigError
from stmask.number_checks import require_number
from stmask.ops import boxes as box_ops
from stmask.structures import Instances
from stmask.tracking.association import (
    DEFAULT_NEW_OBJECT,
    DEFAULT_WEIGHTS,
    MatchWeights,
    NewObject,
    match_scores,
)

_OTHER_CLASS = -1.0


class Comparison(NamedTuple):
    """N detections against M tracks.

    Attributes:
        values: (N, M), the higher the better.
        new: (N,), of starting a track: a detection joins a track only with a higher value.
        ranks: (N,), which of several detections has the track that all of them choose: the one with the highest.
    """

    values: Tensor
    new: Tensor
    ranks: Tensor


class Scorer(Protocol):
    """Compares the detections of a frame with the last state of each track."""

    def __call__(self, detections: Instances, tracks: Instances) -> Comparison: ...


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """Equation 15 of STMask; of rivals the detection with the highest score of its own has the track.

    Attributes:
        weights: of its terms.
        new_object: the imaginary track that a detection must match less well than a real one to join that.
    """

    weights: MatchWeights = DEFAULT_WEIGHTS
    new_object: NewObject = DEFAULT_NEW_OBJECT

    def __call__(self, detections: Instances, tracks: Instances) -> Comparison:
        """Terms whose weight is 0 may be missing in the instances: embeddings are."""
        values = match_scores(detections, tracks, self.weights)
        return Comparison(
            values, torch.full_like(detections.scores, self.new_object.score(self.weights)), detections.scores
        )


@dataclass(frozen=True, slots=True)
class SoftmaxScores:
    """The rule of MaskTrack R-CNN (Yang et al., ICCV 2019), and of SipMask's videos.

    For each detection a softmax over the dot products of its track features with those of the M tracks, and a zero for
    a new one; to the logarithm of that are added the weighted terms of the detection's score, the boxes' IoU and the
    class. A new track has an IoU of 0 and the same class. Of rivals the detection with the highest value has the track.

    Attributes:
        score: weight of the logarithm of the detection's score, which counts between rivals alone.
        box_iou: weight of the boxes' IoU.
        label: weight of having the same class.
    """

    score: float = 1.0
    box_iou: float = 2.0
    label: float = 10.0

    def __post_init__(self) -> None:
        require_number(**asdict(self))

    def __call__(self, detections: Instances, tracks: Instances) -> Comparison:
        """Instances with `track_features` (N, E) of any length.

        Raises:
            ConfigError: they have none.
        """
        products = track_features(detections) @ track_features(tracks).t()
        likelihoods = torch.cat([products.new_zeros(len(detections), 1), products], dim=1).log_softmax(dim=1)
        own = self.score * detections.scores.log()
        overlap = box_ops.iou(detections.boxes, tracks.boxes)
        same = (detections.labels[:, None] == tracks.labels[None]).to(products.dtype)
        values = likelihoods[:, 1:] + own[:, None] + self.box_iou * overlap + self.label * same
        return Comparison(values, likelihoods[:, 0] + own + self.label, _highest(values))


@dataclass(frozen=True, slots=True)
class GatedCosine:
    """The cosine of the track features plus the boxes' IoU, within a class: the rule of CrossVIS and of CondInst on
    videos (Yang et al., ICCV 2021). Of rivals the detection with the highest value has the track.

    Attributes:
        box_iou: weight of the boxes' IoU.
        threshold: a detection must have more with a track to join it.
    """

    box_iou: float = 1.0
    threshold: float = 0.4

    def __post_init__(self) -> None:
        require_number(box_iou=self.box_iou)
        require_number(low=-1.0, threshold=self.threshold)

    def __call__(self, detections: Instances, tracks: Instances) -> Comparison:
        """Instances with `track_features` (N, E) of any length.

        Raises:
            ConfigError: they have none.
        """
        a, b = (torch.nn.functional.normalize(track_features(one), dim=1) for one in (detections, tracks))
        alike = a @ b.t() + self.box_iou * box_ops.iou(detections.boxes, tracks.boxes)
        values = torch.where(detections.labels[:, None] == tracks.labels[None], alike, _OTHER_CLASS)
        return Comparison(values, torch.full_like(detections.scores, self.threshold), _highest(values))


def track_features(instances: Instances) -> Tensor:
    """The features (N, E) by which a model's instances are recognised, of any length.

    Raises:
        ConfigError: they have none.
    """
    features = getattr(instances, "track_features", None)
    if not isinstance(features, Tensor):
        raise ConfigError(
            "this tracker's scorer compares track features, which the model's instances do not have: give "
            "model/tracker=plain or model/tracker=iou"
        )
    return features


def _highest(values: Tensor) -> Tensor:
    """The highest value (N,) of each row of (N, M); without columns 0."""
    return values.amax(dim=1) if values.shape[1] else values.new_zeros(len(values))
