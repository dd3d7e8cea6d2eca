"""Video AP: the metric of YouTube-VIS and OVIS, exact and fast, on files or on the fly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stmask.evaluation.causes import Cause
from stmask.evaluation.explain import Explanation
from stmask.evaluation.ground_truth import Category, GroundTruth, TruthTrack, Video
from stmask.evaluation.results import Predictions, check_results, read_results, to_results, write_results
from stmask.evaluation.video_ap import MASK_METRICS, ClassReport, VideoAPReport, evaluate

if TYPE_CHECKING:
    from stmask.evaluation.metric import VideoMeanAveragePrecision

__all__ = [
    "MASK_METRICS",
    "Category",
    "Cause",
    "ClassReport",
    "Explanation",
    "GroundTruth",
    "Predictions",
    "TruthTrack",
    "Video",
    "VideoAPReport",
    "VideoMeanAveragePrecision",
    "check_results",
    "evaluate",
    "read_results",
    "to_results",
    "write_results",
]


def __getattr__(name: str) -> Any:
    """Imports torchmetrics only when the metric object is used: scoring files needs neither it nor torch."""
    if name == "VideoMeanAveragePrecision":
        from stmask.evaluation.metric import VideoMeanAveragePrecision

        return VideoMeanAveragePrecision
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
