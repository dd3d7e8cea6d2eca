"""Training losses: one pure function per term, and the criterion that joins them."""

from stmask.models.stmask.losses.criterion import BOX_LOSSES, Criterion, LossWeights

__all__ = ["BOX_LOSSES", "Criterion", "LossWeights"]
