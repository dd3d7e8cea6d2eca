"""Identities over time: association (pure functions), the state of tracks, and a tracker for every model."""

from stmask.tracking.association import MatchWeights, NewObject
from stmask.tracking.plain import PlainTracker
from stmask.tracking.tracks import Tracks

__all__ = ["MatchWeights", "NewObject", "PlainTracker", "Tracks"]
PARTS = ("MatchWeights", "NewObject", "PlainTracker")
