"""From a model to results: video segmenter, sources and sinks of video, result builder."""

from stmask.inference.segmenter import VideoSegmenter
from stmask.inference.side_by_side import SideBySide
from stmask.tasks.results import VideoResultBuilder

__all__ = ["SideBySide", "VideoResultBuilder", "VideoSegmenter"]
