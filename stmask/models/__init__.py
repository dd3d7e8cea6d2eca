"""Networks, each a folder of its own behind the one contract `VideoModel`. Nothing here needs Lightning or Hydra."""

from stmask.models.base import Exportable, RunStage, Stage, Tracker, TrackerFactory, VideoModel

__all__ = ["Exportable", "RunStage", "Stage", "Tracker", "TrackerFactory", "VideoModel"]
