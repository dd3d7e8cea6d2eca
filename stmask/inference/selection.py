"""Which instances of a frame are shown and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stmask.class_names import listed, matches
from stmask.errors import ConfigError
from stmask.signatures import nearest
from stmask.structures import TrackedFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Leaves out uncertain instances and unwanted classes, of everything that is drawn and written alike.

    Attributes:
        min_score: in each frame, instances with a lower score are left out.
        labels: 1..K, the classes that stay; None: all.
    """

    min_score: float = 0.3
    labels: frozenset[int] | None = None

    def __call__(self, tracked: TrackedFrame) -> TrackedFrame:
        """The frame with the instances that stay."""
        keep = tracked.instances.scores >= self.min_score
        if self.labels is not None:
            wanted = torch.tensor(sorted(self.labels), dtype=torch.int64, device=keep.device)
            keep &= torch.isin(tracked.instances.labels, wanted)
        return tracked[keep]


def labels_of(classes: Sequence[str], class_names: Sequence[str]) -> frozenset[int]:
    """The labels of classes by their names; case, spaces and underscores aside.

    Raises:
        ConfigError: a name that the model lacks; the message has the nearest and the list.
    """
    if not class_names:
        raise ConfigError("classes: this model does not know the names of its classes, so none can be chosen by name")
    found = matches(classes, class_names)
    for name, place in zip(classes, found, strict=True):
        if place is None:
            near = nearest(name, class_names) or nearest(name.lower(), class_names)
            hint = f"did you mean {near}? " if near else ""
            raise ConfigError(f"classes: the model has no class {name!r}; {hint}It knows {listed(class_names)}")
    return frozenset(place + 1 for place in found if place is not None)
