"""From a model to results: video segmenter, sources and sinks of video, result builder."""

from stmask.inference.segmenter import VideoSegmenter
from stmask.tasks.results import VideoResultBuilder

__all__ = ["VideoResultBuilder", "VideoSegmenter"]
