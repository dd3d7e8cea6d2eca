"""STMask: video instance segmentation with spatial feature calibration and temporal fusion (CVPR 2021).

`stmask.load("best.ckpt")` gives a trained model and `stmask.VideoSegmenter` runs it over the frames of a video.
Names are imported when they are first used, so that `import stmask` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stmask.checkpoints import register
    from stmask.config import compose
    from stmask.errors import StmaskError
    from stmask.inference import VideoSegmenter
    from stmask.loading import load, load_segmenter
    from stmask.models import VideoModel
    from stmask.models.stmask import STMask

_HOMES = {
    "STMask": "stmask.models.stmask",
    "StmaskError": "stmask.errors",
    "VideoModel": "stmask.models",
    "VideoSegmenter": "stmask.inference",
    "compose": "stmask.config",
    "load": "stmask.loading",
    "load_segmenter": "stmask.loading",
    "register": "stmask.checkpoints",
}

__all__ = ["STMask", "StmaskError", "VideoModel", "VideoSegmenter", "compose", "load", "load_segmenter", "register"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("stmask")
    if name not in _HOMES:
        raise AttributeError(f"module 'stmask' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
