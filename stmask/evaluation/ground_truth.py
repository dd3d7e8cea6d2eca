"""The annotated side of the metric: a YouTube-VIS style file, checked once when it is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from stmask.errors import DataError
from stmask.evaluation.overlap import BrokenTrackError, TrackAreas, pack_checked
from stmask.evaluation.reading import collector_paused, read_tracks_json
from stmask.formats.entries import WRONG_LENGTH, is_of_image, read_category, read_track, read_video
from stmask.formats.fields import EntryError, kind_name
from stmask.formats.packed import PackedTrack, Segmentations, is_mask
from stmask.formats.segmentation import Polygons, draw_polygons, read_segmentation

if TYPE_CHECKING:  # importing the records would import torch, which scoring files does not need
    from stmask.structures import RLE


@dataclass(frozen=True, slots=True)
class Category:
    """One class of a dataset; ids need not be contiguous."""

    id: int
    name: str

    @classmethod
    def read(cls, entry: Any) -> Category:
        """The category of an entry of 'categories'; raises `EntryError`."""
        return cls(*read_category(entry))


@dataclass(frozen=True, slots=True)
class Video:
    """The size in pixels and the number of frames of one video."""

    id: int
    width: int
    height: int
    length: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class TruthTrack:
    """One annotated object of one video.

    Attributes:
        segmentations: one compressed RLE at the video's size, or None, for each frame.
        area: mean of the file's own areas in pixels over the frames where the object is present, None if the file has
            none. It decides between small, medium and large, as in the official evaluator, also where the masks differ.
        occlusion: one of "no_occlusion", "slight_occlusion", "severe_occlusion" or None for each frame, if the dataset
            has it (OVIS).
    """

    id: int
    video_id: int
    category_id: int
    is_crowd: bool
    segmentations: Segmentations
    area: float | None
    occlusion: tuple[str | None, ...] | None = None


@dataclass(frozen=True)
class GroundTruth:
    """A checked YouTube-VIS style ground truth.

    `load` reads a file, `from_dict` takes its content. `tracks` is None for an unlabelled file (valid and test splits
    ship without annotations): such a file can check results and submissions, but cannot be scored against.

    Attributes:
        categories: in file order; label k of a `VideoResult` is `categories[k - 1]`.
    """

    videos: Mapping[int, Video]
    categories: tuple[Category, ...]
    tracks: tuple[TruthTrack, ...] | None
    source: str = "ground truth"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> GroundTruth:
        """Reads a YouTube-VIS style JSON file; raises `DataError` naming the entry that is wrong."""
        with collector_paused():
            return cls.from_dict(read_tracks_json(path), source=os.fspath(path))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, source: str = "ground truth") -> GroundTruth:
        """Checks the content of a YouTube-VIS style file; `source` names it in errors."""
        if not isinstance(content, Mapping):
            swapped = ", not a list, as results are" if isinstance(content, list) else ""
            raise DataError(f"{source}: expected an object with videos, categories and annotations{swapped}")
        _refuse_images(content, source)
        videos = entries_by_id(content, "videos", _video, source)
        categories = entries_by_id(content, "categories", Category.read, source)
        if content.get("annotations") is None:
            return cls(videos, tuple(categories.values()), None, source)
        make_track = partial(_track, videos=videos, categories=categories)
        tracks = tuple(entries_by_id(content, "annotations", make_track, source).values())
        truth = cls(videos, tuple(categories.values()), tracks, source)
        try:
            truth.mask_areas  # noqa: B018  (decodes every mask)
        except BrokenTrackError as error:
            track, where = tracks[error.track], f".segmentations[{error.frame}]"
            video = videos[track.video_id]
            message = f"{where}: counts are not the run lengths of a mask of the video's size"
            try:
                read_rle(track.segmentations[error.frame], video.size, of=f"video {video.id}", where=where)
            except EntryError as of_mask:
                message = str(of_mask)
            raise DataError(f"{source}: annotations[{error.track}]{message}") from error
        return truth

    @property
    def labelled_tracks(self) -> tuple[TruthTrack, ...]:
        """The annotated tracks; raises `DataError` for an unlabelled file."""
        if self.tracks is None:
            raise DataError(
                f"{self.source} has no annotations, so nothing can be scored against it: "
                "give a labelled split, or one that was split off the training videos"
            )
        return self.tracks

    def require_objects(self) -> None:
        """Raises `DataError` where every metric would be -1: without annotations, or with crowd regions only."""
        if not any(not track.is_crowd for track in self.labelled_tracks):
            raise DataError(f"{self.source} has no annotation of an object, so nothing can be scored against it")

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The dataset's category ids in file order: label k has `category_ids[k - 1]`."""
        return tuple(category.id for category in self.categories)

    @cached_property
    def sorted_categories(self) -> tuple[Category, ...]:
        """The categories by id, the order of the class axis of precision and recall."""
        return tuple(sorted(self.categories, key=lambda category: category.id))

    @cached_property
    def crowds(self) -> npt.NDArray[np.bool_]:
        """(annotations,) whether each is a crowd."""
        return np.array([track.is_crowd for track in self.labelled_tracks], dtype=bool)

    @cached_property
    def areas(self) -> npt.NDArray[np.float64]:
        """(annotations,) the mean area of each over the frames where it is present, from the file where it has them."""
        stated = np.array([track.area for track in self.labelled_tracks], dtype=np.float64)  # None becomes NaN
        return np.where(np.isnan(stated), self.mask_areas.means(), stated)

    @cached_property
    def mask_areas(self) -> TrackAreas:
        """The areas of every mask; the file's own may differ."""
        return self._packed[1]

    @property
    def segmentations(self) -> list[PackedTrack]:
        """The masks of every annotation."""
        return self._packed[0]

    @cached_property
    def _packed(self) -> tuple[list[PackedTrack], TrackAreas]:
        tracks = self.labelled_tracks
        return pack_checked([t.segmentations for t in tracks], [self.videos[t.video_id].size for t in tracks])

    def only(self, video_ids: Sequence[int]) -> GroundTruth:
        """The part of this ground truth that belongs to `video_ids`."""
        kept = {i: self.videos[i] for i in video_ids}
        tracks = None if self.tracks is None else tuple(t for t in self.tracks if t.video_id in kept)
        return GroundTruth(kept, self.categories, tracks, self.source)


class _Identified(Protocol):
    @property
    def id(self) -> int: ...


_Entry = TypeVar("_Entry", bound=_Identified)


def entries_by_id(
    content: Mapping[str, Any], key: str, make: Callable[[Any], _Entry], source: str
) -> dict[int, _Entry]:
    """The entries of a list in the file, each read by `make`, by their ids.

    Raises:
        DataError: it is not a list, `make` raised an `EntryError`, or two entries have the same id.
    """
    entries = content.get(key)
    if not isinstance(entries, list):
        raise DataError(f"{source}: {key} must be a list, got {kind_name(entries)}")
    made: dict[int, _Entry] = {}
    for index, entry in enumerate(entries):
        try:
            one = make(entry)
        except EntryError as error:
            raise DataError(f"{source}: {key}[{index}]{error}") from None
        if made.setdefault(one.id, one) is not one:
            first = list(made).index(one.id)
            raise DataError(f"{source}: {key}[{first}] and {key}[{index}] have the same id {one.id}")
    return made


def _refuse_images(content: Mapping[str, Any], source: str) -> None:
    annotations = content.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else {}
    if "images" in content and ("videos" not in content or is_of_image(first)):
        raise DataError(f"{source} is of images (COCO), not of videos: data=coco_images evaluates on those")


def _video(entry: Any) -> Video:
    video = read_video(entry, with_files=False)
    return Video(video.id, video.width, video.height, video.length)


def _track(entry: Any, *, videos: Mapping[int, Video], categories: Mapping[int, Category]) -> TruthTrack:
    track = read_track(entry)
    if track.video_id not in videos:
        raise EntryError("an unknown video", f": video_id {track.video_id} is not among the videos")
    if track.category_id not in categories:
        raise EntryError("an unknown category", f": category_id {track.category_id} is not among the categories")
    video, count = videos[track.video_id], len(track.segmentations)
    if count != video.length:
        message = f": segmentations has {count} entries, video {video.id} has {video.length} frames"
        raise EntryError(WRONG_LENGTH, message)
    return TruthTrack(
        id=track.id,
        video_id=track.video_id,
        category_id=track.category_id,
        is_crowd=track.crowd,
        segmentations=_masks(track.segmentations, video),
        area=None if track.areas is None else _mean([area for area in track.areas if area]),
        occlusion=None if track.occlusion is None else tuple(track.occlusion),
    )


def _masks(values: list[Any] | PackedTrack, video: Video) -> Segmentations:
    if isinstance(values, PackedTrack):  # whether they have the video's size is seen when they are packed with others
        return values
    size, of = video.size, f"video {video.id}"
    return tuple([read_rle(value, size, of=of, where=f".segmentations[{frame}]") for frame, value in enumerate(values)])


def _mean(areas: list[float]) -> float:
    return float(sum(areas)) / len(areas) if areas else 0.0


def read_rle(value: Any, size: tuple[int, int], *, of: str, where: str) -> RLE | None:
    """A compressed RLE of (height, width) `size` with str counts, from any of the forms in use; None for no mask.

    Args:
        of, where: what has that size, and the position in the entry, for errors.

    Raises:
        EntryError: it has none of the forms. Whether run lengths fill the frame is not checked.
    """
    expected = list(size)
    if value is None or (is_mask(value, expected) and type(value["size"][0]) is int is type(value["size"][1])):
        rle: RLE | None = value  # the usual forms
        return rle
    try:
        segmentation = read_segmentation(value)
        if isinstance(segmentation, Polygons):
            return {"size": expected, "counts": draw_polygons(segmentation.points, *size).decode("ascii")}
    except ValueError as error:
        raise EntryError("a mask that cannot be read", f"{where}: {error}") from None
    if segmentation is None:
        return None
    if segmentation.size != size:
        found = f"size {list(segmentation.size)} is not that of {of}, {expected} (height, width)"
        raise EntryError("a mask of another size", f"{where}: {found}")
    return {"size": expected, "counts": segmentation.counts}
