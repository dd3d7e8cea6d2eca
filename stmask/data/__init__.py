"""Datasets: files, frame-pair sampling, augmentation, batches. See docs/data.md.

Names are imported on first use: reading a frame needs neither Lightning nor the metrics.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stmask.data.augment import NO_AUGMENTATION, Augmentation, ClipAugmenter, Motion
    from stmask.data.classes import CLASS_NAMES
    from stmask.data.collate import collate_pairs
    from stmask.data.datamodule import DataModule, ImageDataModule, VISDataModule
    from stmask.data.images import read_image
    from stmask.data.mixing import MixedPairs, Source
    from stmask.data.pairs import FramePairDataset
    from stmask.data.stills import ImageDataset
    from stmask.data.videos import VideoClip, VideoClips
    from stmask.data.ytvis import FrameInstances, VideoDataset, VideoInfo

_HOMES = {
    "augment": ("NO_AUGMENTATION", "Augmentation", "ClipAugmenter", "Motion"),
    "classes": ("CLASS_NAMES",),
    "collate": ("collate_pairs",),
    "datamodule": ("DataModule", "ImageDataModule", "VISDataModule"),
    "images": ("read_image",),
    "mixing": ("MixedPairs", "Source"),
    "pairs": ("FramePairDataset",),
    "stills": ("ImageDataset",),
    "videos": ("VideoClip", "VideoClips"),
    "ytvis": ("FrameInstances", "VideoDataset", "VideoInfo"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CLASS_NAMES",
    "NO_AUGMENTATION",
    "Augmentation",
    "ClipAugmenter",
    "DataModule",
    "FrameInstances",
    "FramePairDataset",
    "ImageDataModule",
    "ImageDataset",
    "MixedPairs",
    "Motion",
    "Source",
    "VISDataModule",
    "VideoClip",
    "VideoClips",
    "VideoDataset",
    "VideoInfo",
    "collate_pairs",
    "read_image",
]

PARTS = ("ImageDataModule", "VISDataModule")  # what a checkpoint's card may name


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'stmask.data' has no attribute {name!r}")
    return getattr(import_module(f"stmask.data.{_HOME_OF[name]}"), name)
