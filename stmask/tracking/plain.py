"""The tracker of models that do not propagate instances from frame to frame."""

from __future__ import annotations

from torch import Tensor

from stmask.number_checks import require_number
from stmask.structures import Instances
from stmask.tracking.association import DEFAULT_NEW_OBJECT, DEFAULT_WEIGHTS, MatchWeights, NewObject
from stmask.tracking.memory import MemoryTracker
from stmask.tracking.scorers import WeightedSum
from stmask.tracking.tracks import Tracks


class PlainTracker(MemoryTracker):
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
            new_object: the imaginary track that a detection must match less well than a real one to join that.
            occlusion_iou: a detection whose mask overlaps those of two tracks by more than this shows one object in
                front of another, so it does not replace the state of its track.
            forget_after: after more frames without a detection a track is gone for good, which bounds memory and time;
                None keeps all.
        """
        require_number(high=1.0, occlusion_iou=occlusion_iou)
        super().__init__(scorer=WeightedSum(weights, new_object), forget_after=forget_after)
        self._occlusion_iou = occlusion_iou

    def renewed(self, tracks: Tracks, detections: Instances, rows: Tensor) -> Tracks:
        """The matched tracks with age 0; those without occlusion have their new state too."""
        overlaps = (detections.masks.iou(tracks.instances.masks) > self._occlusion_iou).sum(dim=1)
        clear = ((rows >= 0) & (overlaps < 2)).nonzero().flatten()
        updated = tracks.updated(rows[clear], detections, clear)
        return Tracks(updated.instances, updated.track_ids, updated.ages.index_fill(0, rows[rows >= 0], 0))
