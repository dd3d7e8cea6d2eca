"""What the network gives: named feature levels and dense predictions per anchor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from torch import Tensor

from stmask.structures._checks import require_shape


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Feature maps of the FPN, addressed by name ("P3" .. "P7"), finest first. Each is (B, C, h, w)."""

    levels: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.levels[name]
        except KeyError:
            raise KeyError(f"no level {name!r} in the pyramid, it has {', '.join(self.levels)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.levels)

    def __len__(self) -> int:
        return len(self.levels)


@dataclass(frozen=True, slots=True)
class DensePredictions:
    """Predictions for every anchor of B frames. Anchor order: level, then row, column, anchor shape.

    Attributes:
        box_deltas: (B, A, 4), scaled by the box variances (equation 1 divided by 0.1, 0.1, 0.2, 0.2).
        class_logits: (B, A, K + 1), background first.
        mask_coeffs: (B, A, D) before tanh.
        embeddings: (B, A, E) of unit length.
        centerness: (B, A) after tanh, or None for a head without that branch.
        anchors: (A, 4) cxcywh in [0, 1] of the padded input.
        prototypes: (B, h, w, D).
        temporal_features: (B, 2C, h, w): what the temporal fusion keeps of a frame (pyramid level, head tower),
            or None without it.
    """

    box_deltas: Tensor
    class_logits: Tensor
    mask_coeffs: Tensor
    embeddings: Tensor
    centerness: Tensor | None
    anchors: Tensor
    prototypes: Tensor
    temporal_features: Tensor | None

    def __post_init__(self) -> None:
        b, a = self.class_logits.shape[:2]
        require_shape("box_deltas", self.box_deltas, (b, a, 4))
        require_shape("mask_coeffs", self.mask_coeffs, (b, a, self.prototypes.shape[-1]))
        require_shape("embeddings", self.embeddings, (b, a, None))
        require_shape("anchors", self.anchors, (a, 4))
        require_shape("prototypes", self.prototypes, (b, None, None, None))
        if self.centerness is not None:
            require_shape("centerness", self.centerness, (b, a))
        if self.temporal_features is not None:
            require_shape("temporal_features", self.temporal_features, (b, None, None, None))

    @property
    def batch_size(self) -> int:
        """B, the number of frames."""
        return self.class_logits.shape[0]

    def float(self) -> DensePredictions:
        """The same predictions in float32, whatever the precision of the network."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: value.float() for name, value in values.items() if value is not None})
