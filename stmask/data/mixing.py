"""Several datasets in one stream of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from stmask.class_names import listed, matches, require_distinct
from stmask.data.augment import Motion
from stmask.data.clips import SampleStream
from stmask.data.index import Categories, Index, Ints, annotated_frames
from stmask.data.ytvis import VideoDataset
from stmask.errors import DataError
from stmask.structures import Clip

_TRACK_STRIDE = 1 << 40  # more than a dataset has tracks: keeps the identities of different datasets apart


@dataclass(frozen=True, slots=True)
class Source:
    """Another dataset to train on beside the main one.

    Attributes:
        root, split, annotations, frames: where it is, as for the main dataset.
        weight: pairs from here for each pair of the main dataset, on average.
        aliases: names of classes here that are called otherwise in the main dataset; null leaves a class out that only
            happens to have the same name. Classes that the main dataset does not have are left out anyhow.
        motion: see `FramePairDataset`.
    """

    root: str | None = None
    split: str = "train"
    annotations: str | None = None
    frames: str | None = None
    weight: float = 1.0
    aliases: Mapping[str, str | None] | None = None
    motion: Motion | None = None

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"weight must be positive, got {self.weight}")

    def open(self, categories: Categories, *, cache: str | None = None) -> VideoDataset:
        """The dataset with its labels translated to other classes."""
        paths = {"annotations": self.annotations, "frames": self.frames, "cache": cache}
        return relabelled(VideoDataset.from_root(self.root, self.split, **paths), categories, self.aliases or {})


def relabelled(dataset: VideoDataset, categories: Categories, aliases: Mapping[str, str | None]) -> VideoDataset:
    """The same videos with the classes of another dataset, matched by name (see `stmask.class_names`).

    Objects of other classes are treated like crowds: not learnt from.

    Raises:
        DataError: an alias for a class that is not there, two classes of one name, or no class in common.
    """
    require_distinct(dict(zip(dataset.category_ids, dataset.class_names)), source=str(dataset.annotations_path))
    require_distinct(dict(zip(categories.ids, categories.names)), source="the dataset that it is mixed into")
    for old, new in aliases.items():
        for name, names in ((old, dataset.class_names), (new, categories.names)):
            if name is not None and name not in names:
                raise DataError(f"alias {old!r}: {new!r} of {dataset.annotations_path}: there is no class {name!r}")
    kept = [name for name in dataset.class_names if aliases.get(name, name) is not None]
    places = dict(zip(kept, matches([aliases.get(name) or name for name in kept], categories.names)))
    labels = [0 if (place := places.get(name)) is None else place + 1 for name in dataset.class_names]
    table = np.array([0, *labels], dtype=np.int64)
    if not table.any():
        raise DataError(
            f"{dataset.annotations_path} ({listed(dataset.class_names)}) has no class in common with "
            f"{listed(categories.names)}"
        )
    index = dataset.index
    new_labels = table[index.labels]
    values = {field.name: getattr(index, field.name) for field in fields(Index)}
    crowds = (index.crowds.astype(np.bool_) | (new_labels == 0)).astype(np.uint8)
    values |= {"labels": new_labels, "crowds": crowds, "annotated_frames": _learnt_frames(index, crowds == 0)}
    return VideoDataset(dataset.annotations_path, dataset.frames_path, contents=(categories, Index(**values)))


def _learnt_frames(index: Index, learnt: npt.NDArray[np.bool_]) -> Ints:
    videos = np.repeat(np.arange(len(index.video_ids)), np.diff(index.annotation_starts))[learnt]
    return annotated_frames(
        first_frames=index.frame_starts[videos],
        lengths=np.diff(index.frame_starts)[videos],
        segment_starts=index.segment_starts[learnt],
        encodings=index.encodings,
    )


class MixedPairs(SampleStream):
    """Samples of several streams, each drawn with a probability in proportion to its weight.

    A pass is as long as the first stream takes for about one of its own.

    Raises:
        ValueError: no streams, or not one positive weight for each.
    """

    def __init__(self, streams: Sequence[SampleStream], weights: Sequence[float], *, seed: int = 0) -> None:
        if not streams or len(weights) != len(streams) or min(weights) <= 0:
            raise ValueError(f"{len(streams)} streams need as many positive weights, got {list(weights)}")
        self.streams = list(streams)
        self.seed = seed
        self._shares = np.array(weights, dtype=np.float64) / sum(weights)
        super().__init__(max(1, round(len(self.streams[0]) / float(self._shares[0]))))

    def draw(self, position: int) -> Clip:
        """Sample number `position`; the streams' own positions are left out at random, none comes twice."""
        rng = np.random.default_rng((self.seed, position, len(self.streams)))
        number = int(rng.choice(len(self.streams), p=self._shares))
        clip = self.streams[number].draw(position)
        targets = tuple(
            tuple(replace(target, track_ids=target.track_ids + number * _TRACK_STRIDE) for target in row)
            for row in clip.targets
        )
        return replace(clip, targets=targets)
