"""The prediction head and its feature calibration."""

from stmask.models.heads.calibration import (
    AdaptiveCalibration,
    AlignedCalibration,
    AnchorShape,
    CalibratedConv,
    Calibration,
    NoCalibration,
)
from stmask.models.heads.prediction import HeadOutputs, PredictionHead

__all__ = [
    "AdaptiveCalibration",
    "AlignedCalibration",
    "AnchorShape",
    "CalibratedConv",
    "Calibration",
    "HeadOutputs",
    "NoCalibration",
    "PredictionHead",
]
