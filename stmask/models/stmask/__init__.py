"""STMask: its network, losses, detector, tracker and records."""

from stmask.models.stmask.branches import Branches, ComputedBranches
from stmask.models.stmask.calibration import (
    AdaptiveCalibration,
    AlignedCalibration,
    AnchorShape,
    CalibratedConv,
    Calibration,
    LayerOnly,
    NoCalibration,
)
from stmask.models.stmask.detector import Detector
from stmask.models.stmask.head import PredictionHead
from stmask.models.stmask.losses import Criterion, LossWeights
from stmask.models.stmask.network import STMask
from stmask.models.stmask.records import DensePredictions, Detections, FrameMemory
from stmask.models.stmask.temporal import TemporalFusion
from stmask.models.stmask.tracker import TemporalTracker

__all__ = [
    "AdaptiveCalibration",
    "AlignedCalibration",
    "AnchorShape",
    "Branches",
    "CalibratedConv",
    "Calibration",
    "ComputedBranches",
    "Criterion",
    "DensePredictions",
    "Detections",
    "Detector",
    "FrameMemory",
    "LayerOnly",
    "LossWeights",
    "NoCalibration",
    "PredictionHead",
    "STMask",
    "TemporalFusion",
    "TemporalTracker",
]
PARTS = (  # what a configuration, and so a checkpoint's card, may name
    "AdaptiveCalibration",
    "AlignedCalibration",
    "Criterion",
    "Detector",
    "LayerOnly",
    "LossWeights",
    "NoCalibration",
    "PredictionHead",
    "STMask",
    "TemporalFusion",
    "TemporalTracker",
)
