"""Dataset statistics: tracks, sizes, classes, crowding and occlusion, counted from the annotations alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stmask.data.index import Ints
from stmask.data.segmentation import Encoding, measure
from stmask.data.ytvis import VideoDataset
from stmask.errors import DataError
from stmask.lettering import for_plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts over a dataset; crowd regions are left out.

    Attributes:
        class_names: of the K classes.
        tracks_per_class: (K,).
        track_lengths: frames in which each track is seen.
        mask_sizes: square root of each mask's area over that of its frame's.
        objects_per_frame: of every frame, those without objects included.
        occlusion: for every frame with an object, the share of its boxes' area that is in more than one of them
            (the bounding-box occlusion rate of OVIS).
    """

    class_names: tuple[str, ...]
    tracks_per_class: Ints
    track_lengths: Ints
    mask_sizes: Floats
    objects_per_frame: Ints
    occlusion: Floats


def collect(dataset: VideoDataset) -> Statistics:
    """Goes through all masks without decoding them.

    Raises:
        DataError: a mask is broken.
    """
    lengths, labels, sizes, counts, occlusion = [], [], [], [], []
    for video in range(len(dataset)):
        height, width = (int(n) for n in dataset.index.video_sizes[video])
        boxes: list[list[tuple[int, int, int, int]]] = [[] for _ in range(dataset.length(video))]
        for label, measured in _tracks(dataset, video):
            labels.append(label)
            lengths.append(len(measured))
            sizes += [(area / (height * width)) ** 0.5 for area, _ in measured.values()]
            for position, (_, box) in measured.items():
                boxes[position].append(box)
        counts += [len(of_frame) for of_frame in boxes]
        occlusion += [occlusion_rate(of_frame) for of_frame in boxes if of_frame]
    return Statistics(
        class_names=dataset.class_names,
        tracks_per_class=np.bincount(np.array(labels, dtype=np.int64), minlength=len(dataset.class_names) + 1)[1:],
        track_lengths=np.array(lengths, dtype=np.int64),
        mask_sizes=np.array(sizes, dtype=np.float64),
        objects_per_frame=np.array(counts, dtype=np.int64),
        occlusion=np.array(occlusion, dtype=np.float64),
    )


def _tracks(
    dataset: VideoDataset, video: int
) -> Iterator[tuple[int, dict[int, tuple[int, tuple[int, int, int, int]]]]]:
    """For each visible track of a video: its label, and its mask's area and box by frame."""
    index = dataset.index
    height, width = (int(n) for n in index.video_sizes[video])
    for row in range(index.annotation_starts[video], index.annotation_starts[video + 1]):
        if index.crowds[row]:
            continue
        measured = {}
        for position in range(dataset.length(video)):
            segment = int(index.segment_starts[row]) + position
            if index.encodings[segment] == Encoding.ABSENT:
                continue
            data = index.data[index.data_starts[segment] : index.data_starts[segment + 1]].tobytes()
            try:
                area, box = measure(int(index.encodings[segment]), data, height, width)
            except ValueError as error:
                where = f"annotation {index.annotation_ids[row]}: segmentations[{position}]"
                raise DataError(f"{dataset.annotations_path}: {where}: {error}") from error
            if area:
                measured[position] = (area, box)
        if measured:
            yield int(index.labels[row]), measured


def occlusion_rate(boxes: list[tuple[int, int, int, int]]) -> float:
    """Area covered by more than one of the boxes (x, y, w, h) over the area covered by any."""
    edges_x = np.unique([edge for x, _, w, _ in boxes for edge in (x, x + w)])
    edges_y = np.unique([edge for _, y, _, h in boxes for edge in (y, y + h)])
    cover = np.zeros((len(edges_y) - 1, len(edges_x) - 1), dtype=np.int64)  # cells between the edges
    for x, y, w, h in boxes:
        rows = slice(int(np.searchsorted(edges_y, y)), int(np.searchsorted(edges_y, y + h)))
        columns = slice(int(np.searchsorted(edges_x, x)), int(np.searchsorted(edges_x, x + w)))
        cover[rows, columns] += 1
    areas = np.diff(edges_y)[:, None] * np.diff(edges_x)[None]
    return float(areas[cover > 1].sum() / areas[cover > 0].sum())


def plot(statistics: Statistics, path: str | os.PathLike[str], *, title: str) -> None:
    """Draws `figure` into an image file."""
    figure(statistics, title=title).savefig(path, dpi=110)


def figure(statistics: Statistics, *, title: str) -> Figure:
    """A page of histograms."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(11, 10), layout="constrained")
    counts = f"{len(statistics.objects_per_frame)} frames, {len(statistics.track_lengths)} tracks"
    page.suptitle(f"{for_plot(title, 'dataset')}: {counts}")
    axes = page.subplot_mosaic([["lengths", "counts"], ["sizes", "occlusion"], ["classes", "classes"]])
    _histogram(axes["lengths"], statistics.track_lengths, "frames per track", "tracks", whole=True)
    _histogram(axes["counts"], statistics.objects_per_frame, "objects per frame", "frames", whole=True)
    _histogram(axes["sizes"], statistics.mask_sizes, "object size (square root of its share of the frame)", "masks")
    _histogram(axes["occlusion"], statistics.occlusion, "occlusion (share of box area in several boxes)", "frames")
    _classes(axes["classes"], statistics)
    return page


def _histogram(axes: Any, values: npt.NDArray[Any], label: str, unit: str, *, whole: bool = False) -> None:
    if len(values):
        top = int(values.max())
        axes.hist(values, bins=np.arange(-0.5, top + 1, max(1, top // 40)) if whole else 40, color="#4477aa")
        axes.xaxis.get_major_locator().set_params(integer=whole)
        axes.axvline(np.median(values), color="#cc6677", label=f"median {np.median(values):.3g}")
        axes.legend(frameon=False, loc="upper right")  # searching for the best place can be slow
    axes.set(xlabel=label, ylabel=unit)


def _classes(axes: Any, statistics: Statistics) -> None:
    order = np.argsort(-statistics.tracks_per_class, kind="stable")
    names = [for_plot(statistics.class_names[i], f"class {i + 1}") for i in order]
    axes.bar(range(len(names)), statistics.tracks_per_class[order], color="#4477aa")
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set(ylabel="tracks", xmargin=0.01)
