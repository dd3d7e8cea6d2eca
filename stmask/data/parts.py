"""The parts of a data module: the splits, how samples are drawn from them, what a clip is, the loaders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from stmask.class_names import ids_by_name
from stmask.data.augment import Augmentation, Motion
from stmask.data.clips import Balance, OnError, SampleStream
from stmask.data.layouts import annotation_file
from stmask.data.mixing import MixedPairs, Source
from stmask.data.pairs import FramePairDataset
from stmask.data.stills import ImageDataset
from stmask.data.ytvis import VideoDataset
from stmask.errors import ConfigError
from stmask.number_checks import require_integer
from stmask.ops.frames import FramePreprocessor


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The files to train on and to evaluate with, opened when first needed.

    Attributes:
        root: folder of the dataset; its layout is recognised (see `stmask.data.layouts`).
        train, valid: names of the splits; None leaves a split out.
        train_annotations, train_frames, valid_annotations, valid_frames: explicit paths, which override the layout.
        cache: folder for cached indexes of annotation files that take long to read; None: no cache.
    """

    root: str | None = None
    train: str | None = "train"
    valid: str | None = "valid"
    train_annotations: str | None = None
    train_frames: str | None = None
    valid_annotations: str | None = None
    valid_frames: str | None = None
    cache: str | None = None

    @cached_property
    def train_dataset(self) -> VideoDataset:
        """The split to train on."""
        if self.train is None:
            raise ConfigError("data.train is null, there is no split to train on")
        paths = {"annotations": self.train_annotations, "frames": self.train_frames, "cache": self.cache}
        return VideoDataset.from_root(self.root, self.train, **paths)

    @cached_property
    def valid_dataset(self) -> VideoDataset:
        """The split to evaluate with."""
        if self.valid is None:
            raise ConfigError("data.valid is null, there is no split to evaluate with")
        paths = {"annotations": self.valid_annotations, "frames": self.valid_frames, "cache": self.cache}
        return VideoDataset.from_root(self.root, self.valid, **paths)

    def require_files(self) -> None:
        """Looks for the files of both splits, and opens none.

        Raises:
            DataError: one that is not there.
        """
        if self.train is not None:
            annotation_file(self.root, self.train, annotations=self.train_annotations, frames=self.train_frames)
        if self.valid is not None:
            annotation_file(self.root, self.valid, annotations=self.valid_annotations, frames=self.valid_frames)

    @property
    def learned(self) -> VideoDataset:
        """The split whose classes the network learns: the one to train on, if there is one."""
        return self.valid_dataset if self.train is None else self.train_dataset

    @property
    def valid_category_ids(self) -> tuple[int | None, ...]:
        """For each label the id of its class in the split to evaluate with, by name; None if that split lacks it.

        Raises:
            DataError: that split has a class which is not trained on, or a name stands for two classes.
        """
        valid = self.valid_dataset
        return ids_by_name(
            self.learned.class_names,
            dict(zip(valid.category_ids, valid.class_names)),
            network=str(self.learned.annotations_path),
            dataset=str(valid.annotations_path),
        )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How clips of any kind are read from the split to train on; see `ClipDataset`.

    Attributes:
        preprocessor: size, normalisation and padding of the network input.
        augmentation: random changes of the clips; None: unchanged.
    """

    preprocessor: FramePreprocessor = field(default_factory=FramePreprocessor)
    augmentation: Augmentation | None = None
    on_error: OnError = "raise"
    seed: int = 0


class Clips(Protocol):
    """What is learned from: which frames make a clip.

    Attributes:
        length: frames of a clip.
    """

    @property
    def length(self) -> int: ...

    def stream(self, dataset: VideoDataset, sampling: Sampling, *, cache: str | None = None) -> SampleStream:
        """The clips of a dataset; `cache` is for other datasets mixed in."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of frames of a video.

    Attributes:
        gap, balance, motion: see `FramePairDataset`.
        mix: other datasets to train on at the same time.
    """

    gap: int = 5
    balance: Balance = "frames"
    motion: Motion | None = None
    mix: Sequence[Source] | None = None

    length = 2

    def __post_init__(self) -> None:
        require_integer(**{"data.gap": self.gap})

    def stream(self, dataset: VideoDataset, sampling: Sampling, *, cache: str | None = None) -> SampleStream:
        main = self._pairs(dataset, sampling, self.motion)
        if not self.mix:
            return main
        opened = ((source, source.open(dataset.categories, cache=cache)) for source in self.mix)
        others = [self._pairs(other, sampling, source.motion) for source, other in opened]
        return MixedPairs([main, *others], [1.0, *(source.weight for source in self.mix)], seed=sampling.seed)

    def _pairs(self, dataset: VideoDataset, sampling: Sampling, motion: Motion | None) -> FramePairDataset:
        return FramePairDataset(
            dataset,
            sampling.preprocessor,
            gap=self.gap,
            motion=motion,
            balance=self.balance,
            augmentation=sampling.augmentation,
            seed=sampling.seed,
            on_error=sampling.on_error,
        )


@dataclass(frozen=True, kw_only=True)
class Stills:
    """Single images."""

    length = 1

    def stream(self, dataset: VideoDataset, sampling: Sampling, *, cache: str | None = None) -> SampleStream:
        return ImageDataset(
            dataset,
            sampling.preprocessor,
            augmentation=sampling.augmentation,
            seed=sampling.seed,
            on_error=sampling.on_error,
        )


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How samples become epochs and batches, and how videos are read.

    Attributes:
        batch_size: clips per process.
        samples_per_epoch: clips per epoch, all processes together; None for one pass over the annotated frames (or
            videos). Rounded up to whole batches.
        repeat: train on only this many clips, repeatedly; None for all.
        num_workers: processes that load clips; 0 loads in the training process.
        prefetch: frames that are read ahead of the network in evaluation.
    """

    batch_size: int = 4
    samples_per_epoch: int | None = None
    repeat: int | None = None
    num_workers: int = 2
    prefetch: int = 4

    def __post_init__(self) -> None:
        counts = {"batch_size": self.batch_size, "samples_per_epoch": self.samples_per_epoch, "repeat": self.repeat,
                  "prefetch": self.prefetch}  # fmt: skip
        require_integer(**{f"data.{name}": value for name, value in counts.items() if value is not None})
        require_integer(0, **{"data.num_workers": self.num_workers})
