"""Online trackers: frame by frame in, identities out. State is replaced at each step, never changed in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stmask.structures import Detections, TrackedFrame
from stmask.tracking.association import (
    DEFAULT_NEW_OBJECT,
    DEFAULT_WEIGHTS,
    NEW_TRACK,
    MatchWeights,
    NewObject,
    assign,
    mask_ious,
    match_scores,
)
from stmask.tracking.propagation import FrameMaps, TemporalModule, propagate


class Tracker(Protocol):
    """Anything that gives detections of successive frames their identities."""

    def reset(self) -> None:
        """Forgets everything: the next frame is the first of a video."""
        ...

    def step(self, detections: Detections, maps: FrameMaps) -> TrackedFrame:
        """The next frame of the video, as reported."""
        ...


@dataclass(frozen=True, slots=True)
class Tracks:
    """The last known state of M objects, in the order of their ids.

    Attributes:
        instances: M instances; with temporal fusion as they are (or should be) in the current frame.
        track_ids: (M,) int64.
        ages: (M,) int64, frames since the last detection.
    """

    instances: Detections
    track_ids: Tensor
    ages: Tensor

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, index: Tensor) -> Tracks:
        return Tracks(self.instances[index], self.track_ids[index], self.ages[index])

    @staticmethod
    def none(like: Detections) -> Tracks:
        """No tracks, with the shapes and the device of these detections."""
        return Tracks.started(like[torch.zeros(0, dtype=torch.int64, device=like.scores.device)], 0)

    @staticmethod
    def started(instances: Detections, first_id: int) -> Tracks:
        """One new track for each instance, with ids counted from `first_id`."""
        ids = torch.arange(first_id, first_id + len(instances), device=instances.scores.device)
        return Tracks(instances, ids, torch.zeros_like(ids))

    def followed_by(self, later: Tracks) -> Tracks:
        """These tracks, then the later ones."""
        return Tracks(
            Detections.cat(self.instances, later.instances),
            torch.cat([self.track_ids, later.track_ids]),
            torch.cat([self.ages, later.ages]),
        )

    def updated(self, rows: Tensor, instances: Detections, chosen: Tensor) -> Tracks:
        """Track rows[i] now is instances[chosen[i]], seen in this frame. `rows` are all different."""
        source = torch.arange(len(self), device=self.ages.device)
        source[rows] = len(self) + chosen
        fresh = self.ages.index_fill(0, rows, 0)
        return Tracks(Detections.cat(self.instances, instances)[source], self.track_ids, fresh)

    def within(self, max_age: int | None) -> Tracks:
        """Those seen in the last `max_age` frames; all of them for None."""
        return self if max_age is None else self[self.ages <= max_age]


class OnlineTracker:
    """Tracking with temporal fusion: each track is moved to the new frame, matched, and reported even if unmatched."""

    def __init__(
        self,
        temporal: TemporalModule,
        *,
        weights: MatchWeights = DEFAULT_WEIGHTS,
        new_object: NewObject = DEFAULT_NEW_OBJECT,
        score_threshold: float = 0.05,
        score_decay: float = 0.95,
        max_age: int = 10,
        min_mask_pixels: int = 2,
        forget_after: int | None = 30,
    ) -> None:
        """
        Args:
            temporal: the network's temporal module, in evaluation mode.
            weights: of equation 15.
            new_object: what a detection must be more alike than to join a track.
            score_threshold: tracks whose (decayed) score is this or less are not reported.
            score_decay: factor on a track's score for each frame it is carried over.
            max_age: after more frames in a row without a detection a track is not reported, until it is detected again.
            min_mask_pixels: tracks with fewer mask pixels, at prototype resolution, are not reported.
            forget_after: after more frames without a detection a track is gone for good, which bounds memory and time;
                None keeps all.
        """
        if forget_after is not None and forget_after < max_age:
            raise ValueError(f"forget_after must be at least max_age = {max_age}, got {forget_after}")
        self._temporal = temporal
        self._weights = weights
        self._new_object_score = new_object.score(weights)
        self._score_threshold = score_threshold
        self._score_decay = score_decay
        self._max_age = max_age
        self._min_mask_pixels = min_mask_pixels
        self._forget_after = forget_after
        self.reset()

    @property
    def tracks(self) -> Tracks | None:
        """The current state; None before the first frame of a video."""
        return self._tracks

    def reset(self) -> None:
        """Forgets everything: the next frame is the first of a video."""
        self._tracks: Tracks | None = None
        self._previous: FrameMaps | None = None
        self._next_id = 0
        self._frame_index = 0

    @torch.no_grad()
    def step(self, detections: Detections, maps: FrameMaps) -> TrackedFrame:
        """Moves all tracks to this frame, gives the detections their identities and reports every visible track."""
        tracks = self._joined(self._moved(maps, detections), detections)
        self._tracks, self._previous = tracks, maps
        reported = tracks[self._visible(tracks)]
        frame = TrackedFrame(self._frame_index, reported.instances, reported.track_ids, reported.ages > 0)
        self._frame_index += 1
        return frame

    def _moved(self, maps: FrameMaps, detections: Detections) -> Tracks:
        if self._tracks is None or self._previous is None:
            return Tracks.none(detections)
        instances = propagate(
            self._tracks.instances,
            self._temporal,
            reference=self._previous,
            target=maps,
            score_decay=self._score_decay,
        )
        return Tracks(instances, self._tracks.track_ids, self._tracks.ages + 1)

    def _joined(self, tracks: Tracks, detections: Detections) -> Tracks:
        scores = match_scores(detections, tracks.instances, self._weights)
        rows = assign(scores, detections.scores, new_object_score=self._new_object_score)
        matched = (rows >= 0).nonzero().flatten()
        started = Tracks.started(detections[rows == NEW_TRACK], self._next_id)
        self._next_id += len(started)
        return tracks.updated(rows[matched], detections, matched).followed_by(started).within(self._forget_after)

    def _visible(self, tracks: Tracks) -> Tensor:
        pixels = (tracks.instances.masks > 0.5).flatten(1).sum(dim=1)
        recent = tracks.ages <= self._max_age
        return recent & (pixels >= self._min_mask_pixels) & (tracks.instances.scores > self._score_threshold)


class PlainTracker:
    """Tracking without temporal fusion: detections meet the last state of each track; only detections are reported."""

    def __init__(
        self,
        *,
        weights: MatchWeights = DEFAULT_WEIGHTS,
        new_object: NewObject = DEFAULT_NEW_OBJECT,
        occlusion_iou: float = 0.3,
        forget_after: int | None = 30,
    ) -> None:
        """
        Args:
            weights: of equation 15.
            new_object: what a detection must be more alike than to join a track.
            occlusion_iou: a detection whose mask overlaps those of two tracks by more than this shows one object before
                another, so it does not replace the state of its track.
            forget_after: after more frames without a detection a track is gone for good, which bounds memory and time;
                None keeps all.
        """
        self._weights = weights
        self._new_object_score = new_object.score(weights)
        self._occlusion_iou = occlusion_iou
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
    def step(self, detections: Detections, maps: FrameMaps) -> TrackedFrame:
        """Gives the detections their identities; those that lost their track to a better one are left out."""
        known = self._tracks if self._tracks is not None else Tracks.none(detections)
        tracks = Tracks(known.instances, known.track_ids, known.ages + 1)
        scores = match_scores(detections, tracks.instances, self._weights)
        rows = assign(scores, detections.scores, new_object_score=self._new_object_score)
        joined, new = rows >= 0, rows == NEW_TRACK
        started = Tracks.started(detections[new], self._next_id)
        self._next_id += len(started)
        self._tracks = self._seen(tracks, detections, rows).followed_by(started).within(self._forget_after)

        ids = torch.full_like(rows, -1)
        ids[joined], ids[new] = tracks.track_ids[rows[joined]], started.track_ids
        reported = joined | new
        frame = TrackedFrame(
            self._frame_index, detections[reported], ids[reported], torch.zeros_like(reported[reported])
        )
        self._frame_index += 1
        return frame

    def _seen(self, tracks: Tracks, detections: Detections, rows: Tensor) -> Tracks:
        """The matched tracks with age 0; those without occlusion have their new state too."""
        overlaps = (mask_ious(detections, tracks.instances) > self._occlusion_iou).sum(dim=1)
        clear = ((rows >= 0) & (overlaps < 2)).nonzero().flatten()
        updated = tracks.updated(rows[clear], detections, clear)
        return Tracks(updated.instances, updated.track_ids, updated.ages.index_fill(0, rows[rows >= 0], 0))
