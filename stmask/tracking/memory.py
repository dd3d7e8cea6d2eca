"""A tracker that remembers the last state of each object and compares detections with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from stmask.number_checks import require_integer
from stmask.structures import Frame, Instances, TrackedFrame
from stmask.tracking.association import NEW_TRACK, assign
from stmask.tracking.scorers import Comparison, Scorer
from stmask.tracking.tracks import Tracks

_LABELS = ("last", "first")


class MemoryTracker:
    """Detections meet the last state of each track; only detections are reported.

    Those that start a track in a frame are not compared with the others of that frame. Of several detections that
    choose one track the best has it, and the others are left out of the frame.
    """

    def __init__(
        self, *, scorer: Scorer, label: Literal["last", "first"] = "last", forget_after: int | None = 30
    ) -> None:
        """
        Args:
            scorer: compares detections with tracks.
            label: the class that a track is compared by: of its last detection, or of its first. What is reported of
                a detection is its own class.
            forget_after: after more frames without a detection a track is gone for good, which bounds memory and time;
                None keeps all.
        """
        if label not in _LABELS:
            raise ValueError(f"label must be one of {', '.join(_LABELS)}, got {label!r}")
        if forget_after is not None:
            require_integer(0, forget_after=forget_after)
        self._scorer = scorer
        self._label = label
        self._forget_after = forget_after
        self.reset()

    @property
    def tracks(self) -> Tracks | None:
        """The current state; None before the first frame of a video."""
        return self._tracks

    def reset(self) -> None:
        """Forgets everything: the next frame is the first of a video."""
        self._tracks: Tracks | None = None
        self._next_id = 0
        self._frame_index = 0

    @torch.no_grad()
    def step(self, frame: Frame) -> TrackedFrame:
        """Gives the detections their identities; those that lost their track to a better one are left out."""
        detections = frame.instances
        known = self._tracks if self._tracks is not None else Tracks.none(detections)
        tracks = Tracks(known.instances, known.track_ids, known.ages + 1)
        rows = self.assigned(self._scorer(detections, tracks.instances))
        joined, new = rows >= 0, rows == NEW_TRACK
        started = Tracks.started(detections[new], self._next_id)
        self._next_id += len(started)
        self._tracks = self.renewed(tracks, detections, rows).followed_by(started).within(self._forget_after)

        ids = torch.full_like(rows, -1)
        ids[joined], ids[new] = tracks.track_ids[rows[joined]], started.track_ids
        reported = joined | new
        tracked = TrackedFrame(
            self._frame_index, detections[reported], ids[reported], torch.zeros_like(reported[reported])
        )
        self._frame_index += 1
        return tracked

    def assigned(self, found: Comparison) -> Tensor:
        """The row of the track of each detection, or as `stmask.tracking.association.assign`."""
        return assign(found.values, found.ranks, new_object_score=found.new)

    def renewed(self, tracks: Tracks, detections: Instances, rows: Tensor) -> Tracks:
        """The tracks with the state of the detections (N,) that joined them; `rows` as `assigned` gave them."""
        joined = (rows >= 0).nonzero().flatten()
        renewed = tracks.updated(rows[joined], detections, joined)
        if self._label == "last":
            return renewed
        instances = replace(renewed.instances, labels=tracks.instances.labels)
        return Tracks(instances, renewed.track_ids, renewed.ages)
