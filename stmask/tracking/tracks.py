"""The state of trackers: what is known of each object. It is replaced at each step, never changed in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stmask.structures import Instances


@dataclass(frozen=True, slots=True)
class Tracks:
    """The last known state of M objects, in the order of their ids.

    Attributes:
        instances: M instances; with temporal fusion as they are (or should be) in the current frame.
        track_ids: (M,) int64.
        ages: (M,) int64, frames since the last detection.
    """

    instances: Instances
    track_ids: Tensor
    ages: Tensor

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, index: Tensor) -> Tracks:
        return Tracks(self.instances[index], self.track_ids[index], self.ages[index])

    @staticmethod
    def none(like: Instances) -> Tracks:
        """No tracks, with the shapes and the device of these detections."""
        return Tracks.started(like[torch.zeros(0, dtype=torch.int64, device=like.scores.device)], 0)

    @staticmethod
    def started(instances: Instances, first_id: int) -> Tracks:
        """One new track for each instance, with ids counted from `first_id`."""
        ids = torch.arange(first_id, first_id + len(instances), device=instances.scores.device)
        return Tracks(instances, ids, torch.zeros_like(ids))

    def followed_by(self, later: Tracks) -> Tracks:
        """These tracks, then the later ones."""
        return Tracks(
            self.instances.followed_by(later.instances),
            torch.cat([self.track_ids, later.track_ids]),
            torch.cat([self.ages, later.ages]),
        )

    def updated(self, rows: Tensor, instances: Instances, chosen: Tensor) -> Tracks:
        """Track rows[i] now is instances[chosen[i]], seen in this frame. `rows` are all different."""
        source = torch.arange(len(self), device=self.ages.device)
        source[rows] = len(self) + chosen
        fresh = self.ages.index_fill(0, rows, 0)
        return Tracks(self.instances.followed_by(instances)[source], self.track_ids, fresh)

    def within(self, max_age: int | None) -> Tracks:
        """Those seen in the last `max_age` frames; all of them for None."""
        return self if max_age is None else self[self.ages <= max_age]
