"""Warnings of `stmask data check`: what is valid in a dataset but rarely intended."""

from __future__ import annotations

import filecmp
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stmask.class_names import listed, matches, plain_name
from stmask.data.index import Index, Ints
from stmask.data.report import Report
from stmask.data.segmentation import decode
from stmask.data.stated import Box
from stmask.data.ytvis import VideoDataset

_NAMED = 10  # names shown of a list, the others are counted
_LAST_NUMBER = re.compile(r"(.*?)([0-9]{1,18})([^0-9]*)", re.DOTALL)
_SUB = "-sub"  # suffixes of splits that are made from other splits


def check_categories(report: Report, dataset: VideoDataset, raw: Any) -> None:
    """Classes without a name, with a shared name, or without annotations.

    Args:
        raw: the file's member "categories".
    """
    names, index = dataset.class_names, dataset.index
    nameless = [str(i) for i, name in zip(dataset.category_ids, names, strict=True) if not name.strip()]
    if nameless:
        report.warn(
            "a category without a name", f"no name: category {listed(nameless, most=_NAMED)}", count=len(nameless)
        )
    same = _sharing(names, str)
    report.warn(
        "two categories of one name",
        f"two categories with one name are two classes: {listed(same, most=_NAMED)}",
        count=len(same),
    )
    alike = [name for name in _sharing(list(dict.fromkeys(names)), plain_name) if name.strip()]
    report.warn(
        "names that differ in case or spaces",
        f"categories whose names differ only in case, spaces or underscores: {listed(alike, most=_NAMED)}",
        count=len(alike),
    )
    if len(index.labels) and not report.faulty:
        _check_unused(report, names, index.labels, raw)


def _sharing(names: Sequence[str], key: Any) -> list[str]:
    """The names whose key another name shares, in order; a repeated name comes once."""
    counts = Counter(key(name) for name in names)
    return list(dict.fromkeys(name for name in names if counts[key(name)] > 1))


def _check_unused(report: Report, names: Sequence[str], labels: Ints, raw: Any) -> None:
    counts = np.bincount(labels, minlength=len(names) + 1)[1:]
    unused = [name for name, count in zip(names, counts, strict=True) if not count]
    entries = raw if isinstance(raw, list) else []
    groups = [entry.get("supercategory") for entry in entries if isinstance(entry, dict)]
    upper = [name for name in unused if name in groups]
    verb = "has" if len(unused) == 1 else "have"
    sentence = f"{len(unused)} of {len(names)} categories {verb} no annotation: {listed(unused, most=_NAMED)}"
    if upper:
        sentence += (
            f" ({listed(upper, most=_NAMED)} is the supercategory of others, which some tools export as a class)"
        )
    report.warn("a category without an annotation", sentence, count=len(unused))


def check_videos(report: Report, dataset: VideoDataset, *, of_images: bool) -> None:
    """Crowds, videos without annotations, and frames that are used twice."""
    index, word = dataset.index, "image" if of_images else "video"
    crowds = int(index.crowds.sum())
    sentence = f"{crowds} of {len(index.crowds)} annotations are crowd regions (iscrowd), which are not trained on"
    report.warn("a crowd region", sentence, count=crowds)
    if len(index.labels) and not report.faulty:
        empty = np.flatnonzero(np.diff(index.annotation_starts) == 0)
        verb = "has" if len(empty) == 1 else "have"
        sentence = f"{len(empty)} of {len(dataset)} {word}s {verb} no annotation"
        sentence += f", the first is {word} {dataset.video_id(int(empty[0]))}" if len(empty) else ""
        report.warn("a video without an annotation", sentence, count=len(empty))
    for video in range(len(dataset)):
        if wrong := _out_of_order(dataset.video(video).file_names):
            message = f"{word} {dataset.video_id(video)} has {wrong[1]} after {wrong[0]}"
            report.add("frames that are not in the order of their numbers", message, fatal=False)
    for first, again in _repeated_frames(index):
        (video, position), (other, place) = dataset.locate(first), dataset.locate(again)
        name = dataset.file_name(first)
        if video == other:
            message = f"video {dataset.video_id(video)} has {name} at {position} and {place}"
            report.add("a frame twice in a video", message, fatal=False)
        elif dataset.video_id(video) != dataset.video_id(other):
            message = f"{name} is in {word}s {dataset.video_id(video)} and {dataset.video_id(other)}"
            report.add(f"a frame of two {word}s", message, fatal=False)


def _out_of_order(names: Sequence[str]) -> tuple[str, str] | None:
    """The first frame whose number falls and the one before it, if the names differ in their last number only."""
    parts = [found.groups() for name in names if (found := _LAST_NUMBER.fullmatch(name))]
    if len(parts) < len(names) or len({(start, end) for start, _, end in parts}) > 1:
        return None
    numbers = [int(number) for _, number, _ in parts]
    return next(((names[i], names[i + 1]) for i, (a, b) in enumerate(pairwise(numbers)) if b < a), None)


def _hashes(index: Index) -> Ints:
    """A number for each frame's file name; equal names have equal numbers."""
    text, starts = index.names.tobytes(), index.name_starts.tolist()
    return np.fromiter((hash(text[a:b]) for a, b in pairwise(starts)), dtype=np.int64, count=len(starts) - 1)


def _repeated_frames(index: Index) -> Iterator[tuple[int, int]]:
    """(first, again) for each frame whose file was named before."""
    hashes = _hashes(index)
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if len(same) == 0:
        return
    starts, text = index.name_starts, index.names.tobytes()
    for frame, before in sorted(zip(order[same + 1].tolist(), order[same].tolist(), strict=True)):
        a, b = (text[starts[f] : starts[f + 1]] for f in (before, frame))
        if a == b:
            yield before, frame


class SharedMasks:
    """Finds masks that several annotations of a video have in the same frame."""

    def __init__(self, report: Report, index: Index) -> None:
        self._report = report
        self._index = index
        self._size = (0, 0)
        self._masks: dict[tuple[int, int, Box], list[tuple[int, int]]] = {}
        self._seen: Counter[int] = Counter()

    def add(self, row: int, position: int, *, segment: int, area: int, box: Box) -> None:
        """Adds a mask of annotation `row`."""
        self._masks.setdefault((position, area, box), []).append((row, segment))
        self._seen[row] += 1

    def finish(self, video: int) -> None:
        """Reports what the masks added since the last call, all of one video, have in common."""
        height, width = (int(n) for n in self._index.video_sizes[video])
        shared: Counter[tuple[int, int]] = Counter()
        where: dict[tuple[int, int], int] = {}
        for (position, _, _), owners in self._masks.items():
            for (first, one), (row, other) in pairwise(owners):
                if first != row and np.array_equal(self._mask(one, height, width), self._mask(other, height, width)):
                    shared[first, row] += 1
                    where.setdefault((first, row), position)
        for (first, row), count in shared.items():
            self._tell(first, row, count, where[first, row])
        self._masks.clear()
        self._seen.clear()

    def _mask(self, segment: int, height: int, width: int) -> npt.NDArray[np.uint8]:
        index = self._index
        data = index.data[index.data_starts[segment] : index.data_starts[segment + 1]].tobytes()
        return decode(int(index.encodings[segment]), data, height, width)

    def _tell(self, first: int, row: int, count: int, position: int) -> None:
        ids, labels = self._index.annotation_ids, self._index.labels
        pair = f"{self._report.annotations}: annotations {ids[first]} and {ids[row]}"
        classes = "" if labels[first] == labels[row] else ", of different categories"
        if count == self._seen[first] == self._seen[row]:
            self._report.add("an annotation twice", f"{pair} have the same masks{classes}", fatal=False)
        else:
            message = f"{pair} have the same mask in {count} frames{classes}, first in segmentations[{position}]"
            self._report.add("a mask of two annotations", message, fatal=False)


def compare_splits(reports: Sequence[tuple[str, Report]]) -> Iterator[str]:
    """What the splits of one dataset should and should not have in common.

    Args:
        reports: (name of the split, its report). Parts of a split ("train-sub") are compared with each other only.
    """
    for (first, one), (second, other) in combinations(reports, 2):
        if one.dataset is None or other.dataset is None or first.endswith(_SUB) != second.endswith(_SUB):
            continue
        if one.labelled and other.labelled:
            for a, b, names in (
                (first, second, _missing(one.dataset, other.dataset)),
                (second, first, _missing(other.dataset, one.dataset)),
            ):
                if names:
                    yield f"warning: {b} has categories that {a} does not have: {listed(names, most=_NAMED)}"
        common = _common_videos(one.dataset, other.dataset)
        if common:
            yield f"warning: {len(common)} videos of {second} are in {first} too, by the first: {common[0]}"


def _missing(dataset: VideoDataset, other: VideoDataset) -> list[str]:
    """The classes of `other` that a network trained on `dataset` would not know, by the matching rule of evaluation."""
    places = matches(other.class_names, dataset.class_names)
    return [name for name, place in zip(other.class_names, places, strict=True) if place is None]


def _common_videos(one: VideoDataset, other: VideoDataset) -> list[str]:
    """For each video of `other` with a frame that is also in `one`, the name of that frame.

    Frames of the same name in different folders count only if their files are equal.
    """
    _, frames_of_one, frames = np.intersect1d(_hashes(one.index), _hashes(other.index), return_indices=True)
    found: dict[int, str] = {}
    for frame, again in sorted(zip(frames.tolist(), frames_of_one.tolist(), strict=True)):
        video, _ = other.locate(frame)
        name = other.file_name(frame)
        if video not in found and one.file_name(again) == name:
            found[video] = name if _same_file(one.frames_path / name, other.frames_path / name) else ""
    return [name for name in found.values() if name]


def _same_file(first: Path, second: Path) -> bool:
    try:
        return first.resolve() == second.resolve() or filecmp.cmp(first, second, shallow=False)
    except (OSError, ValueError):
        return False
