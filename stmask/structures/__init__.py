"""Typed records that carry each stage of the flow, and that every model shares."""

from stmask.structures.clip import Clip, FrameTargets, empty_targets
from stmask.structures.instances import Frame, Instances, RecognisableInstances, TrackedFrame
from stmask.structures.losses import LossReport
from stmask.structures.masks import WHOLE, BoxedMasks, CroppedMasks, DenseMasks, Masks, Placement
from stmask.structures.results import RLE, ImageInstance, ImageResult, TrackResult, VideoResult

__all__ = [
    "RLE",
    "WHOLE",
    "BoxedMasks",
    "Clip",
    "CroppedMasks",
    "DenseMasks",
    "Frame",
    "FrameTargets",
    "ImageInstance",
    "ImageResult",
    "Instances",
    "LossReport",
    "Masks",
    "Placement",
    "RecognisableInstances",
    "TrackResult",
    "TrackedFrame",
    "VideoResult",
    "empty_targets",
]
