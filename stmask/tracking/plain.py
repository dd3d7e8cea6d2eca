"""The tracker of models that move nothing from frame to frame."""

from __future__ import annotations

import torch
from torch import Tensor

from stmask.number_checks import require_integer, require_number
from stmask.structures import Frame, Instances, TrackedFrame
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


class PlainTracker:
    """Detections meet the last state of each track, by equation 15; only detections are reported.

    It works for every model: with embeddings where instances have them, by masks, boxes and classes where their weight
    is 0 (conf/model/tracker/iou.yaml).
    """

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
        require_number(high=1.0, occlusion_iou=occlusion_iou)
        if forget_after is not None:
            require_integer(0, forget_after=forget_after)
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
    def step(self, frame: Frame) -> TrackedFrame:
        """Gives the detections their identities; those that lost their track to a better one are left out."""
        detections = frame.instances
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
        tracked = TrackedFrame(
            self._frame_index, detections[reported], ids[reported], torch.zeros_like(reported[reported])
        )
        self._frame_index += 1
        return tracked

    def _seen(self, tracks: Tracks, detections: Instances, rows: Tensor) -> Tracks:
        """The matched tracks with age 0; those without occlusion have their new state too."""
        overlaps = (detections.masks.iou(tracks.instances.masks) > self._occlusion_iou).sum(dim=1)
        clear = ((rows >= 0) & (overlaps < 2)).nonzero().flatten()
        updated = tracks.updated(rows[clear], detections, clear)
        return Tracks(updated.instances, updated.track_ids, updated.ages.index_fill(0, rows[rows >= 0], 0))
