"""From dense predictions of a frame to its instances."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from stmask.models.stmask.records import DensePredictions, Detections, FrameMemory, TemporalModule
from stmask.number_checks import require_number
from stmask.ops import boxes as box_ops
from stmask.ops import masks as mask_ops
from stmask.ops.nms import CrossClassNMS, Kept
from stmask.structures import DenseMasks, Frame


class NMS(Protocol):
    """Suppression of duplicates; see `stmask.ops.nms`."""

    def __call__(self, boxes: Tensor, probabilities: Tensor, quality: Tensor, *, score_threshold: float) -> Kept: ...


class Detector:
    """Selects the anchors that show something, suppresses duplicates and makes the masks.

    Args:
        score_threshold: an anchor is considered when its best class is more probable than this, whatever its
            centre-ness.
        nms: takes boxes (N, 4), class probabilities (N, K), centre-ness (N,) and the threshold, gives what to keep. The
            score of an instance is its class probability times its centre-ness.
    """

    def __init__(self, *, score_threshold: float = 0.05, nms: NMS | None = None) -> None:
        require_number(high=1.0, score_threshold=score_threshold)
        self.score_threshold = score_threshold
        self.nms: NMS = nms or CrossClassNMS()

    @torch.no_grad()
    def __call__(self, predictions: DensePredictions, index: int = 0) -> Detections:
        """The instances of frame `index` of a batch, in float32."""
        probabilities = predictions.class_logits[index].float().softmax(dim=-1)[:, 1:]  # (A, K)
        selected = (probabilities.amax(dim=1) > self.score_threshold).nonzero().flatten()  # (N,)
        boxes = box_ops.decode(predictions.box_deltas[index, selected].float(), predictions.anchors[selected].float())
        if predictions.centerness is None:
            centerness = torch.ones_like(boxes[:, 0])
        else:
            centerness = predictions.centerness[index, selected].float()
        kept = self.nms(boxes, probabilities[selected], centerness, score_threshold=self.score_threshold)
        anchors, boxes = selected[kept.indices], boxes[kept.indices]
        mask_coeffs, embeddings = predictions.branches.at(torch.full_like(anchors, index), anchors)
        mask_coeffs = mask_coeffs.float()
        return Detections(
            boxes=boxes,
            scores=kept.scores,
            labels=kept.labels,
            masks=DenseMasks(mask_ops.instance_masks(predictions.prototypes[index].float(), mask_coeffs, boxes)),
            centerness=centerness[kept.indices],
            mask_coeffs=mask_coeffs,
            embeddings=embeddings.float(),
        )


def detected(
    detector: Detector, predictions: DensePredictions, *, temporal: TemporalModule | None = None
) -> list[Frame]:
    """The frames of a batch, of `Detections` and `FrameMemory`, in float32 whatever the precision of the network."""
    with torch.autocast(predictions.class_logits.device.type, enabled=False):
        predictions = predictions.float()
        return [
            Frame(detector(predictions, index), FrameMemory.of(predictions, index, temporal=temporal))
            for index in range(predictions.batch_size)
        ]
