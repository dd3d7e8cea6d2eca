"""The network. Importing this package needs neither Lightning nor Hydra."""

from stmask.models.backbones import ResNet
from stmask.models.fpn import FPN
from stmask.models.heads import (
    AdaptiveCalibration,
    AlignedCalibration,
    Calibration,
    NoCalibration,
    PredictionHead,
)
from stmask.models.protonet import ProtoNet
from stmask.models.stmask import STMask
from stmask.models.temporal import TemporalFusion

__all__ = [
    "FPN",
    "AdaptiveCalibration",
    "AlignedCalibration",
    "Calibration",
    "NoCalibration",
    "PredictionHead",
    "ProtoNet",
    "ResNet",
    "STMask",
    "TemporalFusion",
]
