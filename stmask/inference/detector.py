"""From dense predictions of a frame to its instances."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stmask.ops import boxes as box_ops
from stmask.ops import masks as mask_ops
from stmask.ops.nms import CrossClassNMS, Kept
from stmask.structures import DensePredictions, Detections

NMS = Callable[[Tensor, Tensor, Tensor], Kept]
DetectorLike = Callable[..., Detections]  # of DensePredictions and the index of a frame, 0 by default
DEFAULT_NMS = CrossClassNMS()


class Detector:
    """Selects the anchors that show something, suppresses duplicates and makes the masks."""

    def __init__(
        self,
        *,
        score_threshold: float = 0.05,
        nms: NMS = DEFAULT_NMS,
    ) -> None:
        """
        Args:
            score_threshold: an anchor is a candidate when its best class is more probable than this, whatever its
                centre-ness.
            nms: takes boxes (N, 4), class probabilities (N, K) and centre-ness (N,), gives what to keep. The score of
                an instance is its class probability times its centre-ness.
        """
        self.score_threshold = score_threshold
        self.nms = nms

    @torch.no_grad()
    def __call__(self, predictions: DensePredictions, index: int = 0) -> Detections:
        """The instances of frame `index` of a batch, in float32."""
        probabilities = predictions.class_logits[index].float().softmax(dim=-1)[:, 1:]  # (A, K)
        candidates = (probabilities.amax(dim=1) > self.score_threshold).nonzero().flatten()  # (N,)
        boxes = box_ops.decode(
            predictions.box_deltas[index, candidates].float(), predictions.anchors[candidates].float()
        )
        if predictions.centerness is None:
            centerness = torch.ones_like(boxes[:, 0])
        else:
            centerness = predictions.centerness[index, candidates].float()
        kept = self.nms(boxes, probabilities[candidates], centerness)
        anchors, boxes = candidates[kept.indices], boxes[kept.indices]
        mask_coeffs = predictions.mask_coeffs[index, anchors].float()
        return Detections(
            boxes=boxes,
            scores=kept.scores,
            labels=kept.labels,
            centerness=centerness[kept.indices],
            mask_coeffs=mask_coeffs,
            embeddings=predictions.embeddings[index, anchors].float(),
            masks=mask_ops.instance_masks(predictions.prototypes[index].float(), mask_coeffs, boxes),
        )
