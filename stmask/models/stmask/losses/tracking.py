"""Embeddings: pulled together for one identity, pushed apart for two."""

from __future__ import annotations

import torch
from torch import Tensor

_FLOOR = 1e-10


def embedding_loss(embeddings: Tensor, track_ids: Tensor, weights: Tensor) -> Tensor:
    """-log of the rescaled cosine (1 + cos) / 2 for pairs of one identity, -log(1 - ..) for others, weighted mean.

    Args:
        embeddings: (P, E) of unit length, positives of all frames.
        track_ids: (P,), different for objects of different clips.
        weights: (P,); a pair weighs the product of its two.
    """
    similarity = ((embeddings @ embeddings.t() + 1) / 2).clamp(0, 1)
    same = track_ids[:, None] == track_ids[None]
    likelihood = torch.where(same, similarity, 1 - similarity).clamp(min=_FLOOR)
    pair_weights = torch.outer(weights, weights).triu(diagonal=1)
    total: Tensor = -(pair_weights * likelihood.log()).sum() / pair_weights.sum().clamp(min=_FLOOR)
    return total
