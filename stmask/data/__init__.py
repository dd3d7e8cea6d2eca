"""Datasets: files, frame-pair sampling, augmentation, batches. See docs/data.md."""

from stmask.data.augment import NO_AUGMENTATION, Augmentation, ClipAugmenter, Motion
from stmask.data.classes import CLASS_NAMES
from stmask.data.collate import collate_pairs
from stmask.data.datamodule import VISDataModule
from stmask.data.imagemodule import ImageDataModule
from stmask.data.images import read_image
from stmask.data.mixing import MixedPairs, Source
from stmask.data.pairs import FramePairDataset
from stmask.data.stills import ImageDataset
from stmask.data.videos import VideoClip, VideoClips
from stmask.data.ytvis import FrameInstances, VideoDataset, VideoInfo

__all__ = [
    "CLASS_NAMES",
    "NO_AUGMENTATION",
    "Augmentation",
    "ClipAugmenter",
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
