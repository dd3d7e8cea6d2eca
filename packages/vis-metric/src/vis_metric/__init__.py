"""The metrics of video instance segmentation from files or from memory, with NumPy and pycocotools alone."""

from vis_metric.errors import DataError, StmaskError
from vis_metric.evaluation import (
    MASK_METRICS,
    Explanation,
    GroundTruth,
    Predictions,
    VideoAPReport,
    check_results,
    evaluate,
    read_results,
)
from vis_metric.evaluation.explain import explain

__all__ = [
    "MASK_METRICS",
    "DataError",
    "Explanation",
    "GroundTruth",
    "Predictions",
    "StmaskError",
    "VideoAPReport",
    "check_results",
    "evaluate",
    "explain",
    "read_results",
]
