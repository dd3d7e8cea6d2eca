"""Identities over time: association (pure), propagation by temporal fusion, and the trackers that hold the state."""

from stmask.tracking.association import MatchWeights, NewObject
from stmask.tracking.propagation import FrameMaps
from stmask.tracking.tracker import OnlineTracker, PlainTracker, Tracker, Tracks

__all__ = ["FrameMaps", "MatchWeights", "NewObject", "OnlineTracker", "PlainTracker", "Tracker", "Tracks"]
