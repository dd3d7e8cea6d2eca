"""Identities over time: association (pure functions), the state of tracks, and trackers for every model."""

from stmask.tracking.association import MatchWeights, NewObject
from stmask.tracking.memory import MemoryTracker
from stmask.tracking.plain import PlainTracker
from stmask.tracking.scorers import Comparison, GatedCosine, Scorer, SoftmaxScores, WeightedSum
from stmask.tracking.tracks import Tracks

__all__ = [
    "Comparison",
    "GatedCosine",
    "MatchWeights",
    "MemoryTracker",
    "NewObject",
    "PlainTracker",
    "Scorer",
    "SoftmaxScores",
    "Tracks",
    "WeightedSum",
]
PARTS = ("GatedCosine", "MatchWeights", "MemoryTracker", "NewObject", "PlainTracker", "SoftmaxScores")
