"""From predictions to results: detector, video segmenter, result builder."""

from stmask.inference.builder import build_segmenter
from stmask.inference.detector import Detector
from stmask.inference.segmenter import VideoSegmenter
from stmask.inference.settings import InferenceSettings
from stmask.tasks.results import VideoResultBuilder

__all__ = ["Detector", "InferenceSettings", "VideoResultBuilder", "VideoSegmenter", "build_segmenter"]
