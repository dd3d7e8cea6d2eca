"""results.json: the predictions of a model for the videos of a dataset, one entry per track."""

from __future__ import annotations

import math
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stmask.class_names import listed
from stmask.errors import DataError
from stmask.evaluation.ground_truth import GroundTruth, Video
from stmask.evaluation.overlap import BrokenTrackError, TrackAreas, pack_checked
from stmask.evaluation.reading import collector_paused, read_large_json, read_tracks_json
from stmask.files import write_json
from stmask.formats.fields import kind_name, shown, whole_number
from stmask.formats.packed import PackedTrack

if TYPE_CHECKING:  # importing the records would import torch, which scoring files does not need
    from stmask.structures import VideoResult

_KEYS = ("video_id", "category_id", "score", "segmentations")
_LISTS = (list, tuple, PackedTrack)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Checked results in columns: N tracks in file order.

    Attributes:
        video_ids, category_ids: (N,) int64.
        scores: (N,) float64, finite.
        segmentations: for each track one mask of the video's size, or None, per frame; packed together.
        areas: of every mask.
    """

    video_ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    segmentations: list[PackedTrack]
    areas: TrackAreas

    def __len__(self) -> int:
        return len(self.segmentations)

    def take(self, indices: npt.NDArray[np.int64]) -> Predictions:
        """The tracks at `indices`, in that order."""
        return Predictions(
            self.video_ids[indices],
            self.category_ids[indices],
            self.scores[indices],
            [self.segmentations[i] for i in indices.tolist()],
            self.areas.take(indices),
        )


def category_of(label: int, category_ids: Sequence[int | None], *, place: str) -> int | None:
    """The dataset's id of the class of a label in 1..K; None for a class that the dataset does not have.

    Args:
        category_ids: of the labels 1..K, see `stmask.class_names.ids_by_name`.
        place: what has the label, for the error.

    Raises:
        DataError: the label is not in 1..K.
    """
    if not 1 <= label <= len(category_ids):
        raise DataError(
            f"{place}, the dataset has the classes 1..{len(category_ids)}: was the model trained on another dataset?"
        )
    return category_ids[label - 1]


def to_results(video_results: Iterable[VideoResult], category_ids: Sequence[int | None]) -> list[dict[str, Any]]:
    """The entries of a results.json: label k becomes `category_ids[k - 1]`, the dataset's id of the k-th class.

    Tracks of a class whose id is None are left out: the dataset does not have it. 'track_id' is an addition to the
    official format, which evaluators do not look at.

    Raises:
        DataError: a label is not in 1..K.
    """
    entries = []
    for result in video_results:
        for track in result.tracks:
            place = f"track {track.track_id} of video {result.video_id} has label {track.label}"
            category_id = category_of(track.label, category_ids, place=place)
            if category_id is None:
                continue
            entries.append(
                {
                    "video_id": result.video_id,
                    "category_id": category_id,
                    "track_id": track.track_id,
                    "score": float(track.score),
                    "segmentations": list(track.segmentations),
                }
            )
    return entries


def write_results(
    path: str | os.PathLike[str], video_results: Iterable[VideoResult], category_ids: Sequence[int | None]
) -> None:
    """Writes a results.json, whole or not at all."""
    write_json(path, to_results(video_results, category_ids))


def read_results(path: str | os.PathLike[str], ground_truth: GroundTruth | None = None) -> list[dict[str, Any]]:
    """Reads a results.json; with `ground_truth` every entry is checked against its videos and categories.

    Raises:
        DataError: names the file and the index of the first entry that is wrong.
    """
    entries: list[dict[str, Any]] = _entry_list(read_large_json(path), os.fspath(path))
    if ground_truth is not None:
        check_results(entries, ground_truth, source=os.fspath(path))
    return entries


def load_predictions(path: str | os.PathLike[str], ground_truth: GroundTruth) -> Predictions:
    """Reads and checks a results.json at once; raises `DataError` naming the file and the first wrong entry."""
    with collector_paused():
        return check_results(read_tracks_json(path), ground_truth, source=os.fspath(path))


def check_results(entries: Any, ground_truth: GroundTruth, *, source: str = "results") -> Predictions:
    """Checks the entries of a results.json against the dataset and returns them in columns.

    Raises:
        DataError: names `source` and the index of the first entry with a wrong id, score or length, else of the first
            with a wrong mask.
    """
    videos = ground_truth.videos
    categories = {category.id: category.name for category in ground_truth.categories}
    columns = _columns(_entry_list(entries, source), videos, categories)
    if columns is None:
        index = next(i for i, entry in enumerate(entries) if not _is_good(entry, videos, categories))
        raise DataError(f"{source}: entry {index}: {_complaint(entries[index], entries, videos, categories)}")
    video_ids, category_ids, scores, segmentations = columns
    try:
        packed, areas = pack_checked(segmentations, [videos[video_id].size for video_id in video_ids])
    except BrokenTrackError as error:
        mask, video = segmentations[error.track][error.frame], videos[video_ids[error.track]]
        raise DataError(f"{source}: entry {error.track}: {_mask_complaint(mask, error.frame, video)}") from error
    return Predictions(
        video_ids=np.array(list(map(int, video_ids)), dtype=np.int64),
        category_ids=np.array(list(map(int, category_ids)), dtype=np.int64),
        scores=np.array(list(map(float, scores)), dtype=np.float64),
        segmentations=packed,
        areas=areas,
    )


def _columns(entries: Any, videos: Mapping[int, Video], categories: Mapping[int, str]) -> list[list[Any]] | None:
    """The four values of every entry, each by itself good, if the entries are; masks aside."""
    try:
        columns = [[entry[key] for entry in entries] for key in _KEYS]
    except (KeyError, TypeError):
        return None
    usual = _are_usual(columns, videos, categories) or all(_is_good(entry, videos, categories) for entry in entries)
    return columns if usual else None


def _are_usual(columns: list[list[Any]], videos: Mapping[int, Video], categories: Mapping[int, str]) -> bool:
    """A quick check of all entries at once, which holds for nearly all files: then each is good."""
    video_ids, category_ids, scores, segmentations = columns
    return (
        set(map(type, video_ids)) | set(map(type, category_ids)) <= {int}
        and set(map(type, scores)) <= {float}
        and set(map(type, segmentations)) <= {list, PackedTrack}
        and videos.keys() >= set(video_ids)
        and categories.keys() >= set(category_ids)
        and bool(np.isfinite(scores).all())
        and list(map(len, segmentations)) == [videos[video_id].length for video_id in video_ids]
    )


def _entry_list(entries: Any, source: str) -> Any:
    if not isinstance(entries, list):
        truth = isinstance(entries, dict) and "annotations" in entries
        what = "an object with annotations, as a ground truth is" if truth else type(entries).__name__
        raise DataError(f"{source}: results must be a list of tracks, got {what}")
    return entries


def _is_good(entry: Any, videos: Mapping[int, Video], categories: Mapping[int, str]) -> bool:
    """A quick check of an entry, its masks aside; `_complaint` explains why it fails."""
    try:
        return (
            entry["category_id"] in categories
            and not isinstance(entry["category_id"], bool)
            and not isinstance(entry["video_id"], bool)
            and _is_score(entry["score"])
            and isinstance(entry["segmentations"], _LISTS)
            and len(entry["segmentations"]) == videos[entry["video_id"]].length
        )
    except (KeyError, TypeError):
        return False


def _is_score(value: Any) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _complaint(entry: Any, entries: Any, videos: Mapping[int, Video], categories: Mapping[int, str]) -> str:
    """What is wrong with a bad entry and, if known, the way out."""
    if not isinstance(entry, Mapping):
        return f"expected an object, got {kind_name(entry)}"
    if missing := [key for key in _KEYS if key not in entry]:
        return f"has no {missing[0]}"
    video_id, category_id, score, segmentations = (entry[key] for key in _KEYS)
    if not _is_key(video_id, videos):
        return f"video_id {shown(video_id)} is not a video of the ground truth"
    if not _is_key(category_id, categories):
        own = listed([f"{identity} {name}" for identity, name in categories.items()])
        hint = _category_hint(entries, set(categories))
        return (
            f"category_id {shown(category_id)} is not a category of the ground truth (use the dataset's own ids: "
            f"{own}){hint}"
        )
    if not _is_score(score):
        return f"score must be a finite number, got {shown(score)}"
    if not isinstance(segmentations, _LISTS):
        return f"segmentations must be a list, got {type(segmentations).__name__}"
    video = videos[video_id]
    return f"has {len(segmentations)} segmentations, video {video_id} has {video.length} frames (null where absent)"


def _is_key(value: Any, known: Container[int]) -> bool:
    try:
        return value in known and not isinstance(value, bool)
    except TypeError:  # a list or other value that cannot be a key
        return False


def _category_hint(entries: Any, categories: set[int]) -> str:
    """A hint at whose ids the results have, judging by all entries."""
    found = (whole_number(entry.get("category_id")) for entry in entries if isinstance(entry, Mapping))
    used = {number for number in found if number is not None}
    if not used or used <= categories:
        return ""
    if min(used) == 0 and max(used) < len(categories):
        return ": these look like labels counted from 0"
    unknown = f"{len(used - categories)} of the {len(used)} categories in the results are unknown"
    return f"; {unknown}: are they from another dataset?"


def _mask_complaint(mask: Any, frame: int, video: Video) -> str:
    where, size = f"segmentations[{frame}]", [video.height, video.width]
    if not isinstance(mask, Mapping) or "size" not in mask or "counts" not in mask:
        return f"{where} must be null or an RLE with size and counts"
    if not isinstance(mask["size"], list) or mask["size"] != size:
        return f"{where} has size {shown(mask['size'])}, video {video.id} has {size} (a list of height, width)"
    if isinstance(mask["counts"], bytes):
        return f"{where}: counts are bytes, a str belongs there: counts.decode('ascii')"
    if not isinstance(mask["counts"], str):
        return f"{where}: counts must be the str of a compressed RLE, got {kind_name(mask['counts'])}"
    return f"{where}: counts are not the run lengths of a mask of {video.height} x {video.width} pixels"
