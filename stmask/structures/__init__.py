"""Typed records that carry each stage of the flow; see README, "The flow"."""

from stmask.structures.clip import Clip, FrameTargets, empty_targets
from stmask.structures.detections import Detections, TrackedFrame
from stmask.structures.predictions import DensePredictions, Pyramid
from stmask.structures.results import RLE, ImageInstance, ImageResult, TrackResult, VideoResult

__all__ = [
    "RLE",
    "Clip",
    "DensePredictions",
    "Detections",
    "FrameTargets",
    "ImageInstance",
    "ImageResult",
    "Pyramid",
    "TrackResult",
    "TrackedFrame",
    "VideoResult",
    "empty_targets",
]
