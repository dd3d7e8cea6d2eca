"""The annotated side of the metric: a YouTube-VIS style file, checked once when it is read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stmask.errors import DataError
from stmask.evaluation.overlap import BrokenTrackError, TrackAreas, is_mask, track_areas
from stmask.evaluation.reading import collector_paused, read_large_json

if TYPE_CHECKING:  # the records import torch, which scoring files does not need
    from stmask.structures import RLE


@dataclass(frozen=True, slots=True)
class Category:
    """One class of a dataset; ids need not be contiguous."""

    id: int
    name: str


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
        occlusion: one of "no_occlusion", "slight_occlusion", "severe_occlusion" or None for each frame, where the
            dataset has it (OVIS).
    """

    id: int
    video_id: int
    category_id: int
    is_crowd: bool
    segmentations: tuple[RLE | None, ...]
    area: float | None
    occlusion: tuple[str | None, ...] | None = None


@dataclass(frozen=True)
class GroundTruth:
    """A checked YouTube-VIS style ground truth.

    `load` reads a file, `from_dict` takes its content. `tracks` is None for an unlabelled file (valid and test splits
    ship without annotations): such a file still serves to check results and to write submissions, it cannot be scored.

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
            return cls.from_dict(read_large_json(path), source=os.fspath(path))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, source: str = "ground truth") -> GroundTruth:
        """Checks the content of a YouTube-VIS style file; `source` names it in errors."""
        if not isinstance(content, Mapping):
            raise DataError(f"{source}: expected an object with videos, categories and annotations")
        _refuse_images(content, source)
        videos = {v.id: v for v in (_video(entry, where) for entry, where in _entries(content, "videos", source))}
        categories = tuple(_category(entry, where) for entry, where in _entries(content, "categories", source))
        _refuse_repeated_ids(content, source)
        if content.get("annotations") is None:
            return cls(videos, categories, None, source)
        known = {category.id for category in categories}
        tracks = tuple(_track(e, where, videos, known) for e, where in _entries(content, "annotations", source))
        truth = cls(videos, categories, tracks, source)
        try:
            truth.mask_areas  # noqa: B018  (decodes every mask)
        except BrokenTrackError as error:
            raise DataError(
                f"{source}: annotations[{error.track}].segmentations[{error.frame}]: "
                "counts are not the run lengths of a mask of the video's size"
            ) from error
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
        tracks = self.labelled_tracks
        return track_areas([t.segmentations for t in tracks], [self.videos[t.video_id].size for t in tracks])

    def only(self, video_ids: Sequence[int]) -> GroundTruth:
        """The part of this ground truth that belongs to `video_ids`."""
        kept = {i: self.videos[i] for i in video_ids}
        tracks = None if self.tracks is None else tuple(t for t in self.tracks if t.video_id in kept)
        return GroundTruth(kept, self.categories, tracks, self.source)


def _entries(content: Mapping[str, Any], key: str, source: str) -> list[tuple[Mapping[str, Any], str]]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise DataError(f"{source}: {key} must be a list, got {type(entries).__name__}")
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise DataError(f"{source}: {key}[{index}] must be an object, got {type(entry).__name__}")
    return [(entry, f"{source}: {key}[{index}]") for index, entry in enumerate(entries)]


def _refuse_images(content: Mapping[str, Any], source: str) -> None:
    annotations = content.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else {}
    of_images = isinstance(first, Mapping) and "image_id" in first and "segmentations" not in first
    if "images" in content and ("videos" not in content or of_images):
        raise DataError(f"{source} is of images (COCO), not of videos: data=coco_images evaluates on those")


def _refuse_repeated_ids(content: Mapping[str, Any], source: str) -> None:
    for key in ("videos", "categories", "annotations"):
        first: dict[int, int] = {}
        for index, entry in enumerate(content.get(key) or ()):
            identity = _integer(entry, "id", f"{source}: {key}[{index}]")
            if first.setdefault(identity, index) != index:
                raise DataError(f"{source}: {key}[{first[identity]}] and {key}[{index}] have the same id {identity}")


def _integer(entry: Mapping[str, Any], key: str, where: str, minimum: int = 0) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or value < minimum:
        raise DataError(f"{where}: {key} must be an integer of at least {minimum}, got {value!r}")
    return int(value)


def _video(entry: Mapping[str, Any], where: str) -> Video:
    names = entry.get("file_names")
    # some files leave `length` out; the list of frames says the same
    length = len(names) if "length" not in entry and isinstance(names, list) else _integer(entry, "length", where, 1)
    width, height = (_integer(entry, key, where, 1) for key in ("width", "height"))
    return Video(_integer(entry, "id", where), width, height, length)


def _category(entry: Mapping[str, Any], where: str) -> Category:
    identity = _integer(entry, "id", where)
    return Category(identity, str(entry.get("name", identity)))


def _track(entry: Mapping[str, Any], where: str, videos: Mapping[int, Video], known: set[int]) -> TruthTrack:
    video_id, category_id = _integer(entry, "video_id", where), _integer(entry, "category_id", where)
    if video_id not in videos:
        raise DataError(f"{where}: video_id {video_id} is not among the videos")
    if category_id not in known:
        raise DataError(f"{where}: category_id {category_id} is not among the categories")
    video = videos[video_id]
    raw = _per_frame(entry, "segmentations", where, video)
    segmentations = tuple(_rle(s, where, t, video) if s else None for t, s in enumerate(raw))
    occlusion = _per_frame(entry, "occlusion", where, video) if entry.get("occlusion") is not None else None
    return TruthTrack(
        id=_integer(entry, "id", where),
        video_id=video_id,
        category_id=category_id,
        is_crowd=bool(entry.get("iscrowd", 0)),
        segmentations=segmentations,
        area=_mean_area(entry, where, video),
        occlusion=None if occlusion is None else tuple(occlusion),
    )


def _per_frame(entry: Mapping[str, Any], key: str, where: str, video: Video) -> list[Any]:
    values = entry.get(key)
    if not isinstance(values, list):
        raise DataError(f"{where}: {key} must be a list with one entry per frame, got {type(values).__name__}")
    if len(values) != video.length:
        raise DataError(f"{where}: {key} has {len(values)} entries, video {video.id} has {video.length} frames")
    return values


def _mean_area(entry: Mapping[str, Any], where: str, video: Video) -> float | None:
    if entry.get("areas") is None:
        return None
    areas = [area for area in _per_frame(entry, "areas", where, video) if area]
    try:
        return float(sum(areas)) / len(areas) if areas else 0.0
    except TypeError:
        raise DataError(f"{where}: areas must hold numbers or null") from None


def _rle(value: Any, where: str, frame: int, video: Video) -> RLE:
    """A compressed RLE with str counts from any of the four forms in use."""
    size = [video.height, video.width]
    if is_mask(value, size):  # the usual form
        rle: RLE = value
        return rle
    where = f"{where}.segmentations[{frame}]"
    if isinstance(value, list):
        return _from_polygons(value, where, video)
    if not isinstance(value, Mapping) or "counts" not in value or "size" not in value:
        raise DataError(f"{where}: expected null, an RLE with size and counts, or polygons")
    if list(value["size"]) != size:
        raise DataError(f"{where}: size {list(value['size'])} is not that of video {video.id}, {size} (height, width)")
    counts = value["counts"]
    if not isinstance(counts, list) or set(map(type, counts)) != {int} or min(counts) < 0:
        raise DataError(f"{where}: counts must be a str or a list of run lengths, got {type(counts).__name__}")
    if sum(counts) != video.height * video.width:
        raise DataError(f"{where}: the runs cover {sum(counts)} pixels, the video has {video.height * video.width}")
    return _as_text(coco_mask.frPyObjects({"size": size, "counts": counts}, *size))


def _from_polygons(polygons: list[Any], where: str, video: Video) -> RLE:
    for polygon in polygons:
        numbers = isinstance(polygon, list) and all(isinstance(value, (int, float)) for value in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            raise DataError(f"{where}: a polygon must be a list of at least three x, y pairs")
    return _as_text(coco_mask.merge(coco_mask.frPyObjects(polygons, video.height, video.width)))


def _as_text(rle: Mapping[str, Any]) -> RLE:
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
