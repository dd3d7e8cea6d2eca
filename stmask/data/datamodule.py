"""The data of a training or evaluation run, as Lightning takes it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from stmask.class_names import ids_by_name, require_distinct
from stmask.data.augment import Augmentation, Motion
from stmask.data.clips import Balance, OnError, SampleStream
from stmask.data.collate import collate_pairs
from stmask.data.loading import LOOK_AFTER, EpochSampler, PairLoader, VideoSampler, start_worker
from stmask.data.mixing import MixedPairs, Source
from stmask.data.pairs import FramePairDataset
from stmask.data.videos import VideoClip, VideoClips, single_video
from stmask.data.ytvis import VideoDataset
from stmask.errors import ConfigError
from stmask.files import read_json
from stmask.ops.frames import FramePreprocessor


class VISDataModule(pl.LightningDataModule):
    """A YouTube-VIS style dataset: frame pairs of one split to train on, whole videos of another to evaluate with.

    Files are opened when they are first needed. Training batches are `Clip`s; the validation loader yields one
    `VideoClip` at a time and gives each rank its own videos, each video once: ranks may differ in how many they get.

    Args:
        root: folder of the dataset; its layout is recognised (see `stmask.data.layouts`).
        train, valid: names of the splits; null leaves a split out.
        train_annotations, train_frames, valid_annotations, valid_frames: explicit paths, which win over the layout.
        preprocessor: size, normalisation and padding of the network input.
        augmentation: random changes of the training pairs; null for none.
        gap, balance, motion, on_error: see `FramePairDataset`.
        mix: other datasets to train on at the same time.
        batch_size: pairs per process.
        samples_per_epoch: pairs per epoch, all processes together; null for one pass over the annotated frames (or
            videos). Rounded up to whole batches.
        repeat: train on so many pairs only, over and over; null for all there are.
        num_workers: processes that load training pairs; 0 loads in the training process.
        prefetch: frames that are read ahead of the network in evaluation.
        cache: folder for indexes of annotation files, for sets that take long to read; null for none.

    Attributes:
        clip_length: frames of a training sample.
    """

    clip_length = 2

    def __init__(
        self,
        *,
        root: str | None = None,
        train: str | None = "train",
        valid: str | None = "valid",
        train_annotations: str | None = None,
        train_frames: str | None = None,
        valid_annotations: str | None = None,
        valid_frames: str | None = None,
        preprocessor: FramePreprocessor | None = None,
        augmentation: Augmentation | None = None,
        gap: int = 5,
        balance: Balance = "frames",
        motion: Motion | None = None,
        mix: Sequence[Source] | None = None,
        on_error: OnError = "raise",
        batch_size: int = 4,
        samples_per_epoch: int | None = None,
        repeat: int | None = None,
        num_workers: int = 2,
        prefetch: int = 4,
        cache: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if gap < 1 or (samples_per_epoch is not None and samples_per_epoch < 1) or prefetch < 1:
            raise ConfigError(
                "data.gap, data.samples_per_epoch and data.prefetch must be at least 1, "
                f"got {gap}, {samples_per_epoch} and {prefetch}"
            )
        if repeat is not None and repeat < 1:
            raise ConfigError(f"data.repeat must be at least 1, or null, got {repeat}")
        if batch_size < 1 or num_workers < 0:
            numbers = f"{batch_size} and {num_workers}"
            raise ConfigError(f"data.batch_size must be at least 1 and data.num_workers at least 0, got {numbers}")
        self.root = root
        self.train_split = train
        self.valid_split = valid
        self._train_paths = {"annotations": train_annotations, "frames": train_frames, "cache": cache}
        self._valid_paths = {"annotations": valid_annotations, "frames": valid_frames, "cache": cache}
        self.cache = cache
        self.preprocessor = preprocessor or FramePreprocessor()
        self.batch_size = batch_size
        self.samples_per_epoch = samples_per_epoch
        self.repeat = repeat
        self.num_workers = num_workers
        self.prefetch = prefetch
        self.mix = tuple(mix or ())
        self.motion = motion
        self.seed = seed
        self._how: dict[str, Any] = {
            "gap": gap, "balance": balance, "augmentation": augmentation, "seed": seed, "on_error": on_error
        }  # fmt: skip

    @cached_property
    def train_dataset(self) -> VideoDataset:
        """The split to train on."""
        if self.train_split is None:
            raise ConfigError("data.train is null, there is no split to train on")
        return VideoDataset.from_root(self.root, self.train_split, **self._train_paths)

    @cached_property
    def valid_dataset(self) -> VideoDataset:
        """The split to evaluate with."""
        if self.valid_split is None:
            raise ConfigError("data.valid is null, there is no split to evaluate with")
        return VideoDataset.from_root(self.root, self.valid_split, **self._valid_paths)

    def setup(self, stage: str) -> None:
        """Opens what a stage needs, so that a mistake shows before the training starts.

        Raises:
            DataError: a file that is missing or broken, or classes that do not go together by name.
        """
        if stage != "fit":
            self.valid_dataset  # noqa: B018
            return
        self.train_samples()
        train = self.train_dataset
        require_distinct(dict(zip(train.category_ids, train.class_names)), source=str(train.annotations_path))
        if self.valid_split is not None:
            self.valid_category_ids  # noqa: B018

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes; label i is class_names[i - 1]."""
        return (self.train_dataset if self.train_split is not None else self.valid_dataset).class_names

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The dataset's own ids of the classes, in the order of the labels."""
        return (self.train_dataset if self.train_split is not None else self.valid_dataset).category_ids

    @property
    def valid_category_ids(self) -> tuple[int | None, ...]:
        """For each label the id of its class in the split to evaluate with, by name; None where that does not have it.

        Raises:
            DataError: that split has a class which is not trained on, or a name stands for two classes.
        """
        valid = self.valid_dataset
        trained = valid if self.train_split is None else self.train_dataset
        return ids_by_name(
            self.class_names,
            dict(zip(valid.category_ids, valid.class_names)),
            network=str(trained.annotations_path),
            dataset=str(valid.annotations_path),
        )

    @property
    def ground_truth(self) -> tuple[Path, dict[str, Any]]:
        """The annotation file to evaluate with and its contents."""
        path = self.valid_dataset.annotations_path
        return path, read_json(path)

    @cached_property
    def _mixed_datasets(self) -> tuple[VideoDataset, ...]:
        return tuple(source.open(self.train_dataset.categories, cache=self.cache) for source in self.mix)

    def train_samples(self) -> SampleStream:
        """What there is to train on, an epoch being a whole number of batches on every rank."""
        samples = self._samples()
        step = self.batch_size * self._world_size
        wanted = self.samples_per_epoch or samples.references
        samples.samples_per_epoch = -(-wanted // step) * step
        samples.repeat = self.repeat
        return samples

    def _samples(self) -> SampleStream:
        main = FramePairDataset(self.train_dataset, self.preprocessor, motion=self.motion, **self._how)
        if not self.mix:
            return main
        others = [
            FramePairDataset(dataset, self.preprocessor, motion=source.motion, **self._how)
            for dataset, source in zip(self._mixed_datasets, self.mix, strict=True)
        ]
        return MixedPairs([main, *others], [1.0, *(source.weight for source in self.mix)], seed=self.seed)

    def train_dataloader(self) -> PairLoader:
        """Batches of pairs for this process; it goes on within an epoch after a resume."""
        samples = self.train_samples()
        return PairLoader(
            samples,
            batch_size=self.batch_size,
            sampler=EpochSampler(samples, rank=self._rank, world_size=self._world_size),
            num_workers=self.num_workers,
            collate_fn=collate_pairs,
            worker_init_fn=start_worker,
            persistent_workers=self.num_workers > 0,
            timeout=LOOK_AFTER if self.num_workers else 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[VideoClip | None] | list[Any]:
        """The validation videos of this process, one at a time; an empty list without a validation split."""
        if self.valid_split is None:
            return []
        clips = VideoClips(self.valid_dataset, prefetch=self.prefetch)
        sampler = VideoSampler(clips, rank=self._rank, world_size=self._world_size)
        return DataLoader(clips, batch_size=1, sampler=sampler, collate_fn=single_video)

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1
