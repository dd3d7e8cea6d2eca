"""What a model's losses leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LossReport:
    """Named terms, weighted, each a scalar; `total` is their sum.

    Attributes:
        terms: at least one.
        counts: plain numbers to be logged beside them, such as how many anchors were positive.
        idle: 0, through which the parameters behind no term still get a gradient of 0 (DDP wants all of them used);
            None where every parameter has a term.
    """

    terms: Mapping[str, Tensor]
    counts: Mapping[str, float] = field(default_factory=dict)
    idle: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        total = torch.stack(list(self.terms.values())).sum()
        return total if self.idle is None else total + self.idle
