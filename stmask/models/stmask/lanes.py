"""Detection and tracking of several videos side by side, over tensors of fixed shapes: what a CUDA graph can record.

It is what `Detector` and `TemporalTracker` do, with room for a fixed number of detections and tracks of each video and
the word which of them are real, so that nothing waits for a value on the GPU. Results are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from stmask.models.stmask.detector import Detector
from stmask.models.stmask.propagation import moved_boxes
from stmask.models.stmask.records import DensePredictions, Detections
from stmask.models.stmask.tracker import TemporalTracker
from stmask.ops import boxes as box_ops
from stmask.ops import masks as mask_ops
from stmask.ops.nms import CrossClassNMS
from stmask.ops.streams import at_once
from stmask.structures import DenseMasks
from stmask.tracking.association import NEW_TRACK, assign, weighted

_NEVER = -torch.inf


@dataclass(frozen=True, slots=True)
class Slots:
    """Room for N instances of each of V videos.

    Attributes:
        boxes, scores, labels, centerness, mask_coeffs, embeddings: (V, N, ...), as in `Detections`.
        filled: (V, N) bool, which of them are real. The values of others mean nothing.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    centerness: Tensor
    mask_coeffs: Tensor
    embeddings: Tensor
    filled: Tensor

    def followed_by(self, later: Slots) -> Slots:
        """These, then the later ones."""
        return Slots(*(torch.cat([getattr(self, f.name), getattr(later, f.name)], dim=1) for f in fields(self)))

    def taken(self, index: Tensor) -> Slots:
        """Those with these indices (V, M) into the N."""
        return Slots(*(take(getattr(self, f.name), index) for f in fields(self)))


def take(values: Tensor, index: Tensor) -> Tensor:
    """values[v, index[v]]: (V, N, ...) and (V, M) give (V, M, ...)."""
    rows = torch.arange(len(values), device=values.device)[:, None]
    return values[rows, index]


def filled_first(filled: Tensor) -> Tensor:
    """Indices (V, N) that put the filled ones of (V, N) first and keep their order."""
    n = filled.shape[1]
    place = torch.where(filled, filled.cumsum(1) - 1, filled.sum(1, keepdim=True) + (~filled).cumsum(1) - 1)
    order = torch.empty_like(place)
    return order.scatter(1, place, torch.arange(n, device=filled.device).expand_as(place))


def detect_slots(
    detector: Detector, predictions: DensePredictions, *, mask_coeffs: Tensor, embeddings: Tensor
) -> Slots:
    """What `Detector` finds in B frames, with `CrossClassNMS` and in float32; what the branches give is (B, A, ...)."""
    nms = detector.nms
    assert isinstance(nms, CrossClassNMS)
    probabilities, classes = predictions.class_logits.softmax(dim=-1)[..., 1:].max(dim=-1)  # (B, A)
    scores = probabilities if predictions.centerness is None else probabilities * predictions.centerness
    competes = probabilities > detector.score_threshold
    order = nms.best(scores.masked_fill(~competes, _NEVER))  # (B, k)
    boxes = box_ops.decode(take(predictions.box_deltas, order), predictions.anchors[order])
    kept, filled = nms.kept(boxes, take(classes, order), take(competes, order))
    anchors = take(order, kept)
    centerness = predictions.centerness
    return Slots(
        boxes=take(boxes, kept),
        scores=take(scores, anchors),
        labels=take(classes, anchors) + 1,
        centerness=torch.ones_like(boxes[:, : kept.shape[1], 0]) if centerness is None else take(centerness, anchors),
        mask_coeffs=take(mask_coeffs, anchors).float(),
        embeddings=take(embeddings, anchors).float(),
        filled=filled,
    )


@dataclass(frozen=True, slots=True)
class Reported:
    """What is reported of one frame of each of V videos, the filled slots first.

    Attributes:
        instances: S of each video.
        masks: (V, S, h, w) probabilities.
        track_ids: (V, S).
        supplemented: (V, S) bool.
        counts: (V, 2) int64: how many are filled, and how many tracks there are now. More than S do not fit: nothing
            was changed then.
    """

    instances: Slots
    masks: Tensor
    track_ids: Tensor
    supplemented: Tensor
    counts: Tensor

    def copied(self) -> Reported:
        """The same in other memory."""
        instances = Slots(*(getattr(self.instances, f.name).clone() for f in fields(Slots)))
        others = (self.masks, self.track_ids, self.supplemented, self.counts)
        return Reported(instances, *(tensor.clone() for tensor in others))

    def of(self, video: int, count: int) -> tuple[Detections, Tensor, Tensor]:
        """The `count` instances of one video, their ids and which are supplemented."""
        found = {f.name: getattr(self.instances, f.name)[video, :count] for f in fields(Slots) if f.name != "filled"}
        instances = Detections(**found, masks=DenseMasks(self.masks[video, :count]))
        return instances, self.track_ids[video, :count], self.supplemented[video, :count]


class StepModel(Protocol):
    """What `Lanes` needs of the network."""

    detector: Detector
    temporal: Any

    def __call__(self, frames: Tensor) -> DensePredictions: ...


class TemporalLanes:
    """The `Lanes` of STMask: tracks of V videos that temporal fusion moves, with room for S tracks of each."""

    def __init__(self, model: StepModel, tracker: TemporalTracker, *, frames: Tensor, slots: int) -> None:
        """
        Args:
            model: with temporal fusion, and with `CrossClassNMS` in its detector.
            tracker: whose settings count; its state does not.
            frames: (V, 3, H, W) as they will be, for shapes and device.
            slots: S.
        """
        self._model, self._tracker = model, tracker
        self.slots = slots
        predictions = model(frames)
        assert predictions.temporal_features is not None
        self._features = torch.zeros_like(predictions.temporal_features)
        mask_coeffs, embeddings = predictions.branches.everywhere()
        with torch.autocast(frames.device.type, enabled=False):
            like = detect_slots(model.detector, predictions.float(), mask_coeffs=mask_coeffs, embeddings=embeddings)
        videos = len(frames)
        self._tracks = Slots(
            *(one.new_zeros(videos, slots, *one.shape[2:]) for one in (getattr(like, f.name) for f in fields(like)))
        )
        self._ids = torch.zeros(videos, slots, dtype=torch.int64, device=frames.device)
        self._ages = torch.zeros_like(self._ids)
        self._next = torch.zeros_like(self._ids[:, 0])

    def reset(self, video: int) -> None:
        """The next frame of this video is the first of another one."""
        self._tracks.filled[video] = False
        self._next[video] = 0

    def state(self) -> list[Tensor]:
        """A copy of all that a step changes, for `restore`."""
        return [tensor.clone() for tensor in self._state()]

    def restore(self, state: list[Tensor]) -> None:
        """Puts back what `state` gave, also if that has room for fewer tracks."""
        for tensor, kept in zip(self._state(), state, strict=True):
            if tensor.shape == kept.shape:
                tensor.copy_(kept)
            else:
                tensor.zero_()
                tensor[:, : kept.shape[1]] = kept

    def _state(self) -> list[Tensor]:
        tracks = [getattr(self._tracks, f.name) for f in fields(self._tracks)]
        return [*tracks, self._ids, self._ages, self._next, self._features]

    def step(self, frames: Tensor, active: Tensor) -> Reported:
        """The next frame of the active videos (V,) bool of frames (V, 3, H, W).

        All but the network is computed in float32.
        """
        predictions = self._model(frames)
        features = predictions.temporal_features
        assert features is not None
        jobs: list[Callable[[], tuple[Tensor, Tensor]]] = [
            predictions.branches.everywhere,
            partial(self._shifts, features),
        ]
        (mask_coeffs, embeddings), (deltas, coeff_deltas) = at_once(jobs, device=frames.device)
        with torch.autocast(frames.device.type, enabled=False):
            found = detect_slots(
                self._model.detector, predictions.float(), mask_coeffs=mask_coeffs, embeddings=embeddings
            )
            moved = self._moved(deltas.float(), coeff_deltas.float())
            reported, state = self._tracked(found, moved, predictions.prototypes.float())
            changes = (reported.counts[:, 1] <= self.slots).all() & active
            for mine, value in zip(self._state(), [*state, features], strict=True):
                mine.copy_(torch.where(changes.view(-1, *(1,) * (mine.ndim - 1)), value, mine))
        return reported

    def _shifts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """How the temporal fusion moves the tracks to the frames with these features."""
        fused = self._model.temporal.fuse(self._features, features)
        deltas, coeff_deltas = self._model.temporal(fused, list(self._tracks.boxes))
        return deltas, coeff_deltas

    def _tracked(self, found: Slots, moved: Slots, prototypes: Tensor) -> tuple[Reported, list[Tensor]]:
        """What is reported, and the new state, in the order of `_state`."""
        both = moved.followed_by(found)  # (V, S + n)
        masks = mask_ops.instance_masks(prototypes, both.mask_coeffs, both.boxes)
        binary = masks > 0.5

        rows = self._assigned(found, moved, binary)  # (V, n)
        new = (rows == NEW_TRACK) & found.filled
        joined = rows >= 0
        source = torch.arange(self.slots, device=rows.device).expand_as(self._ids)
        detections = self.slots + torch.arange(rows.shape[1], device=rows.device).expand_as(rows)
        spare = torch.zeros_like(self._ids[:, :1])  # where those that join no track are written
        places = torch.where(joined, rows, self.slots)
        source = torch.cat([source, spare], dim=1).scatter(1, places, detections)[:, :-1]

        seen = source >= self.slots
        ages = torch.cat([(self._ages + 1).masked_fill(seen, 0), torch.zeros_like(rows)], dim=1)
        ids = torch.cat([self._ids, self._next[:, None] + new.cumsum(1) - 1], dim=1)
        alive = torch.cat([moved.filled, new], dim=1)
        if (limit := self._tracker.forget_after) is not None:
            alive = alive & (ages <= limit)
        order = filled_first(alive)[:, : self.slots]
        source = take(torch.cat([source, detections], dim=1), order)  # (V, S) into `both`
        tracks, ids, ages = both.taken(source), take(ids, order), take(ages, order)
        count = alive.sum(1)
        filled = torch.arange(self.slots, device=rows.device) < count[:, None]

        pixels = take(binary.flatten(2).sum(2), source)
        visible = filled & self._tracker.is_visible(ages=ages, pixels=pixels, scores=tracks.scores)
        shown = filled_first(visible)
        reported = Reported(
            instances=tracks.taken(shown),
            masks=take(masks, take(source, shown)),
            track_ids=take(ids, shown),
            supplemented=take(ages > 0, shown),
            counts=torch.stack([visible.sum(1), count], dim=1),
        )
        kept = replace(tracks, boxes=torch.where(filled[..., None], tracks.boxes, 0.0), filled=filled)
        return reported, [*(getattr(kept, f.name) for f in fields(kept)), ids, ages, self._next + new.sum(1)]

    def _moved(self, deltas: Tensor, coeff_deltas: Tensor) -> Slots:
        """The tracks as they should be in the new frame; see `propagate`."""
        tracks = self._tracks
        return replace(
            tracks,
            boxes=moved_boxes(deltas.view_as(tracks.boxes), tracks.boxes),
            scores=tracks.scores * self._tracker.score_decay,
            mask_coeffs=tracks.mask_coeffs + coeff_deltas.view_as(tracks.mask_coeffs),
        )

    def _assigned(self, found: Slots, moved: Slots, binary: Tensor) -> Tensor:
        """The slot of each detection's track (V, n), or what `assign` says."""
        weights = self._tracker.weights
        scores = weighted(
            weights,
            scores=found.scores,
            cosines=found.embeddings @ moved.embeddings.mT if weights.embedding else None,
            mask_iou=mask_ops.iou(binary[:, self.slots :], binary[:, : self.slots]),
            box_iou=box_ops.iou(found.boxes, moved.boxes),
            same_label=found.labels[:, :, None] == moved.labels[:, None],
        )
        possible = found.filled[:, :, None] & moved.filled[:, None]
        return assign(
            scores.masked_fill(~possible, _NEVER),
            found.scores.masked_fill(~found.filled, _NEVER),
            new_object_score=self._tracker.new_object_score,
        )
