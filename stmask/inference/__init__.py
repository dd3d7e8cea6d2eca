"""From a model to results: video segmenter, sources and sinks of video, result builder."""

from stmask.inference.results import VideoResultBuilder
from stmask.inference.segmenter import VideoSegmenter

__all__ = ["VideoResultBuilder", "VideoSegmenter"]
