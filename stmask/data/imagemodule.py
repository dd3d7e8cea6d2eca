"""The data of a training on single images."""

from __future__ import annotations

from stmask.data.augment import Augmentation
from stmask.data.clips import OnError
from stmask.data.datamodule import VISDataModule
from stmask.data.stills import ImageDataset
from stmask.data.ytvis import VideoDataset
from stmask.errors import DataError
from stmask.ops.frames import FramePreprocessor


class ImageDataModule(VISDataModule):
    """Images in COCO format: clips of one image to train on, videos of one frame to evaluate with.

    Loaders, samplers and what is reproducible are those of `VISDataModule`.

    Args:
        root, train, valid, train_annotations, train_frames, valid_annotations, valid_frames: see `VISDataModule`.
        preprocessor: size, normalisation and padding of the network input.
        augmentation: random changes of the training images; null for none.
        on_error: see `ClipDataset`.
        batch_size: images per process.
        samples_per_epoch: images per epoch, all processes together; null for one pass over the annotated ones. Rounded
            up to whole batches.
        repeat: train on so many images only, over and over; null for all there are.
        num_workers, prefetch, cache: see `VISDataModule`.
    """

    clip_length = 1

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
        on_error: OnError = "raise",
        batch_size: int = 8,
        samples_per_epoch: int | None = None,
        repeat: int | None = None,
        num_workers: int = 2,
        prefetch: int = 4,
        cache: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            root=root,
            train=train,
            valid=valid,
            train_annotations=train_annotations,
            train_frames=train_frames,
            valid_annotations=valid_annotations,
            valid_frames=valid_frames,
            preprocessor=preprocessor,
            augmentation=augmentation,
            on_error=on_error,
            batch_size=batch_size,
            samples_per_epoch=samples_per_epoch,
            repeat=repeat,
            num_workers=num_workers,
            prefetch=prefetch,
            cache=cache,
            seed=seed,
        )

    def setup(self, stage: str) -> None:
        """Opens what a stage needs.

        Raises:
            DataError: as `VISDataModule.setup`, or a file of videos.
        """
        super().setup(stage)
        if stage == "fit":
            _require_images(self.train_dataset)
        if self.valid_split is not None:
            _require_images(self.valid_dataset)

    def _samples(self) -> ImageDataset:
        how = {name: self._how[name] for name in ("augmentation", "seed", "on_error")}
        return ImageDataset(self.train_dataset, self.preprocessor, **how)


def _require_images(dataset: VideoDataset) -> None:
    frames = len(dataset.index.name_starts) - 1
    if frames != len(dataset):
        raise DataError(
            f"{dataset.annotations_path} holds {len(dataset)} videos of {frames} frames, not images: train on it with "
            "data=custom, or make images of it by `stmask data convert ytvis-to-coco`"
        )
