"""A torchmetrics metric that collects entries of a results file from all processes, those of each item once."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from stmask.errors import DataError


class CollectedResults(Metric):
    """The entries of the items (videos, images) that were seen, whichever process saw them.

    An item that several processes saw (a distributed sampler repeats items to fill its last round) is merged when the
    entries agree and refused when they don't.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    item = "item"  # what errors call one
    lines: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # lines of JSON as bytes: the one form in which torchmetrics concatenates, gathers and stores run lengths
        self.add_state("lines", default=[], dist_reduce_fx="cat")

    def results(self) -> list[dict[str, Any]]:
        """The entries of a results file over the items of all processes; under DDP every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            seen = self._entries()
        return [entry for item_id in sorted(seen) for entry in seen[item_id]]

    def _add(self, item_id: int, entries: list[dict[str, Any]]) -> None:
        line = json.dumps([item_id, entries]) + "\n"
        self.lines.append(torch.frombuffer(bytearray(line, "ascii"), dtype=torch.uint8).to(self.device))

    def _entries(self) -> dict[int, list[dict[str, Any]]]:
        parts = [self.lines] if isinstance(self.lines, Tensor) else self.lines
        seen: dict[int, list[dict[str, Any]]] = {}
        for line in b"".join(part.cpu().numpy().tobytes() for part in parts).splitlines():
            item_id, entries = json.loads(line)
            if seen.setdefault(item_id, entries) != entries:
                raise DataError(
                    f"{self.item} {item_id} was scored twice with different results: reset the metric between epochs, "
                    f"and give each {self.item} to one process"
                )
        return seen

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        # a process without items would send an empty float tensor, which cannot be gathered with bytes
        self.lines = self.lines or [torch.zeros(0, dtype=torch.uint8, device=self.device)]
        super()._sync_dist(*args, **kwargs)
