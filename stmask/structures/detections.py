"""Instances of single frames: before tracking (Detections) and after (TrackedFrame)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from stmask.structures._checks import require_shape


@dataclass(frozen=True, slots=True)
class Detections:
    """N instances of one frame (N = 0 is normal), in the order of non-maximum suppression.

    Attributes:
        boxes: (N, 4) xyxy relative to the padded input; not clipped to [0, 1].
        scores: (N,).
        labels: (N,) int64 in 1..K.
        centerness: (N,), ones for a head without that branch.
        mask_coeffs: (N, D) before tanh.
        embeddings: (N, E) of unit length.
        masks: (N, h, w) probabilities in [0, 1] at the prototypes' resolution, zero outside the box.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    centerness: Tensor
    mask_coeffs: Tensor
    embeddings: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        n = self.scores.shape[0]
        require_shape("boxes", self.boxes, (n, 4))
        require_shape("scores", self.scores, (n,))
        require_shape("labels", self.labels, (n,))
        require_shape("centerness", self.centerness, (n,))
        require_shape("mask_coeffs", self.mask_coeffs, (n, None))
        require_shape("embeddings", self.embeddings, (n, None))
        require_shape("masks", self.masks, (n, None, None))

    def __len__(self) -> int:
        return self.scores.shape[0]

    def __getitem__(self, index: Tensor) -> Detections:
        """Selects instances by an index or a boolean mask over N."""
        return Detections(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def cat(first: Detections, second: Detections) -> Detections:
        """The instances of `first`, then those of `second`."""
        pairs = ((getattr(first, f.name), getattr(second, f.name)) for f in fields(Detections))
        return Detections(*(torch.cat(pair) for pair in pairs))


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """The instances that are reported for one frame, with their identities.

    Attributes:
        frame_index: position of the frame since the tracker's last reset.
        detections: N instances.
        track_ids: (N,) int64, all different, counted from 0 since the tracker's last reset.
        supplemented: (N,) bool, True where temporal fusion carried the instance over without a detection (equation 17).
    """

    frame_index: int
    detections: Detections
    track_ids: Tensor
    supplemented: Tensor

    def __post_init__(self) -> None:
        n = len(self.detections)
        require_shape("track_ids", self.track_ids, (n,))
        require_shape("supplemented", self.supplemented, (n,))

    def __len__(self) -> int:
        return len(self.detections)
