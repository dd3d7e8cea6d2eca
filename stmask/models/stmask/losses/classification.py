"""Classification with hard negative mining."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.ops.matching import BACKGROUND


def hard_negatives(class_logits: Tensor, labels: Tensor, *, ratio: int) -> Tensor:
    """The background anchors of the batch that look least like background, `ratio` for each positive: (F, A) bool."""
    with torch.no_grad():
        doubt = class_logits.logsumexp(dim=-1) - class_logits[..., BACKGROUND]
        candidates = labels == BACKGROUND
        doubt = doubt.masked_fill(~candidates, -1.0).flatten()  # doubt of a candidate is never negative
        wanted = min(ratio * int((labels > BACKGROUND).sum()), int(candidates.sum()))
        chosen = torch.zeros_like(doubt, dtype=torch.bool)
        chosen[doubt.topk(wanted).indices] = True
    return chosen.view_as(labels)


def hard_negative_cross_entropy(class_logits: Tensor, labels: Tensor, *, weights: Tensor, ratio: int = 3) -> Tensor:
    """Cross entropy over positives and hard negatives.

    The positives of a frame weigh 1 together, the negatives of the batch `ratio` times the number of frames; the sum is
    divided by ratio + 1.

    Args:
        class_logits: (F, A, K + 1).
        labels: (F, A): 1..K, 0 background, -1 neutral.
        weights: (P,) of the positives in the order of (labels > 0).nonzero().
        ratio: negatives per positive.

    Returns:
        The sum over the batch; divide by F for the mean per frame.
    """
    positive = labels > BACKGROUND
    negative = hard_negatives(class_logits, labels, ratio=ratio)
    positive_cost = F.cross_entropy(class_logits[positive], labels[positive], reduction="none")
    negative_logits = class_logits[negative]
    negative_cost = F.cross_entropy(negative_logits, labels[negative], reduction="none")
    negative_weight = ratio * len(labels) / max(len(negative_logits), 1)
    return ((weights * positive_cost).sum() + negative_weight * negative_cost.sum()) / (ratio + 1)
