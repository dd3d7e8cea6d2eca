"""What a model's losses leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

RESERVED = frozenset({"loss", "grad_norm", "skipped_steps"})  # what training logs beside the terms


@dataclass(frozen=True, slots=True)
class LossReport:
    """Named terms, weighted, each a scalar; `total` is their sum.

    Attributes:
        terms: at least one, under names of their own.
        counts: plain numbers to be logged beside them, such as how many anchors were positive.
        idle: 0, through which the parameters behind no term still get a gradient of 0 (DDP wants all of them used);
            None where every parameter has a term.
    """

    terms: Mapping[str, Tensor]
    counts: Mapping[str, float] = field(default_factory=dict)
    idle: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("a LossReport needs at least one term")
        if taken := sorted({*self.terms} & {*self.counts} | ({*self.terms} | {*self.counts}) & RESERVED):
            raise ValueError(
                f"a LossReport's names must differ from each other and from those of training, got {taken[0]!r} again"
            )

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        total = torch.stack(list(self.terms.values())).sum()
        return total if self.idle is None else total + self.idle
