"""STMask's tracker: tracks are moved by temporal fusion before they are matched."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from stmask.errors import ConfigError
from stmask.models.stmask.propagation import propagate
from stmask.models.stmask.records import Detections, FrameMemory
from stmask.number_checks import require_integer, require_number
from stmask.structures import Frame, TrackedFrame
from stmask.tracking.association import (
    DEFAULT_NEW_OBJECT,
    DEFAULT_WEIGHTS,
    NEW_TRACK,
    MatchWeights,
    NewObject,
    assign,
    match_scores,
)
from stmask.tracking.tracks import Tracks


class TemporalTracker:
    """Tracking with temporal fusion: each track is moved to the new frame, matched, and reported even if unmatched."""

    def __init__(
        self,
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
            weights: of equation 15.
            new_object: the imaginary track that a detection must match less well than a real one to join that.
            score_threshold: tracks whose (decayed) score is this or less are not reported.
            score_decay: factor on a track's score for each frame it is carried over.
            max_age: after more frames in a row without a detection a track is not reported, until it is detected again.
            min_mask_pixels: tracks with fewer mask pixels, at prototype resolution, are not reported.
            forget_after: after more frames without a detection a track is gone for good, which bounds memory and time;
                None keeps all.
        """
        require_number(high=1.0, score_threshold=score_threshold, score_decay=score_decay)
        require_integer(0, max_age=max_age, min_mask_pixels=min_mask_pixels)
        if forget_after is not None and forget_after < max_age:
            raise ValueError(f"forget_after must be null or at least max_age = {max_age}, got {forget_after}")
        self.weights = weights
        self.new_object_score = new_object.score(weights)
        self._score_threshold = score_threshold
        self.score_decay = score_decay
        self._max_age = max_age
        self._min_mask_pixels = min_mask_pixels
        self.forget_after = forget_after
        self.reset()

    @property
    def tracks(self) -> Tracks | None:
        """The current state; None before the first frame of a video."""
        return self._tracks

    def reset(self) -> None:
        """Forgets everything: the next frame is the first of a video."""
        self._tracks: Tracks | None = None
        self._previous: FrameMemory | None = None
        self._next_id = 0
        self._frame_index = 0

    @torch.no_grad()
    def step(self, frame: Frame) -> TrackedFrame:
        """Moves all tracks to this frame, gives the detections their identities and reports every visible track."""
        detections, memory = frame.instances, frame.memory
        if not isinstance(detections, Detections) or not isinstance(memory, FrameMemory):
            raise ConfigError("TemporalTracker is STMask's own, this model gives it other frames: model/tracker=plain")
        tracks = self._joined(self._moved(memory, detections), detections)
        self._tracks, self._previous = tracks, memory
        reported = tracks[self._visible(tracks)]
        found = TrackedFrame(self._frame_index, reported.instances, reported.track_ids, reported.ages > 0)
        self._frame_index += 1
        return found

    def _moved(self, memory: FrameMemory, detections: Detections) -> Tracks:
        if self._tracks is None or self._previous is None:
            return Tracks.none(detections)
        instances = propagate(
            cast(Detections, self._tracks.instances),
            reference=self._previous,
            target=memory,
            score_decay=self.score_decay,
        )
        return Tracks(instances, self._tracks.track_ids, self._tracks.ages + 1)

    def _joined(self, tracks: Tracks, detections: Detections) -> Tracks:
        scores = match_scores(detections, tracks.instances, self.weights)
        rows = assign(scores, detections.scores, new_object_score=self.new_object_score)
        matched = (rows >= 0).nonzero().flatten()
        started = Tracks.started(detections[rows == NEW_TRACK], self._next_id)
        self._next_id += len(started)
        return tracks.updated(rows[matched], detections, matched).followed_by(started).within(self.forget_after)

    def _visible(self, tracks: Tracks) -> Tensor:
        pixels = cast(Detections, tracks.instances).masks.binary().flatten(1).sum(dim=1)
        return self.is_visible(ages=tracks.ages, pixels=pixels, scores=tracks.instances.scores)

    def is_visible(self, *, ages: Tensor, pixels: Tensor, scores: Tensor) -> Tensor:
        """Which tracks are reported, by their ages, mask pixels and scores, all of one shape."""
        return (ages <= self._max_age) & (pixels >= self._min_mask_pixels) & (scores > self._score_threshold)
