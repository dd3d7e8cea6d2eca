"""The data of a training or evaluation run, as Lightning takes it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from stmask.class_names import require_distinct
from stmask.data.clips import SampleStream
from stmask.data.collate import collate_pairs
from stmask.data.keywords import made, takes
from stmask.data.layouts import annotation_file
from stmask.data.loaders import LOOK_AFTER, EpochSampler, PairLoader, VideoSampler, start_worker
from stmask.data.parts import Clips, Loading, Pairs, Sampling, Splits, Stills
from stmask.data.videos import VideoClip, VideoClips, single_video
from stmask.data.ytvis import VideoDataset
from stmask.tasks import Images, Task, Videos


class DataModule(pl.LightningDataModule):
    """Serves clips of one split for training and whole videos of another for evaluation.

    Training batches are `Clip`s. The validation loader yields one `VideoClip` at a time (an image is a video of one
    frame) and gives each rank its own share, each video once: ranks may get different numbers of them.

    Args:
        splits: the files.
        sampling: how clips are read.
        clips: what is in a clip.
        loading: epochs, batches, workers.
        task: what is done with the videos of the validation loader.
    """

    def __init__(self, splits: Splits, sampling: Sampling, *, clips: Clips, loading: Loading, task: Task) -> None:
        super().__init__()
        self.splits, self.sampling, self.clips, self.loading, self.task = splits, sampling, clips, loading, task

    @property
    def train_dataset(self) -> VideoDataset:
        """The split to train on."""
        return self.splits.train_dataset

    @property
    def valid_dataset(self) -> VideoDataset:
        """The split to evaluate with."""
        return self.splits.valid_dataset

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes to learn; label i is class_names[i - 1]."""
        return self.splits.learned.class_names

    def require_files(self) -> None:
        """Looks for the files of all datasets, and opens none.

        Raises:
            DataError: one that is not there.
        """
        self.splits.require_files()
        for source in (self.clips.mix or ()) if isinstance(self.clips, Pairs) else ():
            annotation_file(source.root, source.split, annotations=source.annotations, frames=source.frames)

    def setup(self, stage: str) -> None:
        """Opens what a stage needs, so that mistakes show before training starts.

        Raises:
            DataError: a file that is missing, broken or not of this task, or classes whose names do not match.
        """
        if stage != "fit":
            self._check(self.valid_dataset)
            return
        train = self.train_dataset
        self._check(train)
        self.stream  # noqa: B018
        require_distinct(dict(zip(train.category_ids, train.class_names)), source=str(train.annotations_path))
        if self.splits.valid is not None:
            self.splits.valid_category_ids  # noqa: B018
            self._check(self.valid_dataset)

    def _check(self, dataset: VideoDataset) -> None:
        frames = len(dataset.index.name_starts) - 1
        self.task.check(items=len(dataset), frames=frames, source=dataset.annotations_path)

    @cached_property
    def stream(self) -> SampleStream:
        """The endless stream of training samples."""
        return self.clips.stream(self.train_dataset, self.sampling, cache=self.splits.cache)

    def train_samples(self) -> SampleStream:
        """The same in epochs of a whole number of batches on every rank."""
        step = self.loading.batch_size * self._world_size
        return self.stream.cut(self.loading.samples_per_epoch, multiple_of=step, repeat=self.loading.repeat)

    def train_dataloader(self) -> PairLoader:
        """Batches of clips for this process; it continues within an epoch after a resume."""
        samples, workers = self.train_samples(), self.loading.num_workers
        return PairLoader(
            samples,
            batch_size=self.loading.batch_size,
            sampler=EpochSampler(samples, rank=self._rank, world_size=self._world_size),
            num_workers=workers,
            collate_fn=collate_pairs,
            worker_init_fn=start_worker,
            persistent_workers=workers > 0,
            timeout=LOOK_AFTER if workers else 0,
            pin_memory=torch.cuda.is_available(),
        )

    def videos(self) -> VideoClips:
        """The items to evaluate with, in file order."""
        return VideoClips(self.valid_dataset, prefetch=self.loading.prefetch)

    def val_dataloader(self) -> DataLoader[VideoClip | None] | list[Any]:
        """The validation items of this process, one at a time; an empty list without a validation split."""
        if self.splits.valid is None:
            return []
        clips = self.videos()
        sampler = VideoSampler(clips, rank=self._rank, world_size=self._world_size)
        return DataLoader(clips, batch_size=1, sampler=sampler, collate_fn=single_video)

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1


class VISDataModule(DataModule):
    """Pairs of frames to train on, videos to evaluate with.

    Args:
        task: what is done with the videos.
        keys: of `Splits`, `Sampling`, `Pairs` and `Loading`.
    """

    @takes(Splits, Sampling, Pairs, Loading)
    def __init__(self, *, task: Task = Videos(), **keys: Any) -> None:
        super().__init__(
            made(Splits, keys), made(Sampling, keys), clips=made(Pairs, keys), loading=made(Loading, keys), task=task
        )


class ImageDataModule(DataModule):
    """Images, as in COCO's files, to train on and to evaluate with.

    Args:
        task: what is done with the images to evaluate with.
        keys: of `Splits`, `Sampling` and `Loading`.
    """

    @takes(Splits, Sampling, Loading)
    def __init__(self, *, task: Task = Images(), **keys: Any) -> None:
        super().__init__(
            made(Splits, keys), made(Sampling, keys), clips=Stills(), loading=made(Loading, keys), task=task
        )
