"""Tasks: what is done with an item of a dataset (a video, an image), how that is recorded, scored and reported."""

from stmask.tasks.base import Item, Metric, Scores, Segmenter, Task
from stmask.tasks.images import Images
from stmask.tasks.results import VideoResultBuilder
from stmask.tasks.videos import Videos

__all__ = ["Images", "Item", "Metric", "Scores", "Segmenter", "Task", "VideoResultBuilder", "Videos"]
