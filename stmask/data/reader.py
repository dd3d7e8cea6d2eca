"""Reads an annotation file into its index, naming every mistake.

Images (COCO) are videos of one frame, also in a file whose 'videos' name no files and only group images.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from stmask.data.index import Bytes, Categories, Index, Ints, annotated_frames
from stmask.data.jsonstream import stream_object
from stmask.data.segmentation import Encoding, packed
from stmask.data.soundness import first_broken_mask
from stmask.errors import DataError
from stmask.formats.entries import KEY_MISSING, read_category, read_image, read_track, read_video
from stmask.formats.fields import EntryError, MissingKeyError, shown, whole_number
from stmask.formats.segmentation import Polygons, read_segmentation

_ID_TWICE = "a video id twice"
_NOT_THIS_FORMAT = "not a YouTube-VIS file"
FAULTS_OF_VIDEOS = (KEY_MISSING, _ID_TWICE)  # kinds of faults whose rows are not annotation rows
LISTS = ("videos", "images", "annotations")  # the members of a file that are read entry by entry
# Columns of an annotation while it is read; height and width are 0 where no segmentation states them.
ID, VIDEO, CATEGORY, CROWD, FIRST, COUNT, HEIGHT, WIDTH = range(8)

_Entry = TypeVar("_Entry")


class AnnotationError(DataError):
    """Something wrong with one entry of an annotation file; `kind` describes all such cases."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that rows of a table break: `wrong` (N,) bool says which, `describe` gives the message for one of them."""

    kind: str
    wrong: npt.NDArray[np.bool_]
    describe: Callable[[int], str]


def read_index(path: Path) -> tuple[Categories, Index]:
    """Reads and validates an annotation file.

    Raises:
        DataError: naming the file and, where it applies, the annotation's id and the key that is wrong.
    """
    reader = AnnotationReader(path)
    for key, position, value in stream_object(path, LISTS):
        reader.take(key, position, value)
    for fault in reader.faults():
        if fault.wrong.any():
            raise reader.error(fault.kind, fault.describe(int(fault.wrong.argmax())))
    index = reader.index()
    broken = first_broken_mask(index, np.array(reader.outlines).reshape(-1, 3))
    if broken is not None:
        raise reader.error("a mask that does not fit its frame", broken)
    return reader.categories, index


class AnnotationReader:
    """Collects the members of a file in any order; references are checked at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: set[str] = set()
        self.labelled = False
        self.categories = Categories((), ())
        self.groups = array("q")  # positions of the videos that name no files
        self.video_ids, self.video_sizes = array("q"), array("q")
        self.frame_starts, self.name_starts, self.names = array("q", [0]), array("q", [0]), bytearray()
        self.annotations = array("q")  # 8 columns, see above
        self.encodings, self.data_starts, self.data = bytearray(), array("q", [0]), bytearray()
        self.outlines = array("d")  # of each segmentation of polygons: its number, reach and length

    def error(self, kind: str, message: str) -> AnnotationError:
        return AnnotationError(kind, f"{self.path}: {message}")

    def take(self, key: str, position: int | None, value: Any) -> None:
        """Adds one member, as `stream_object` yields it.

        Raises:
            AnnotationError: it cannot be used; nothing of it was added.
        """
        self.seen.add(key)
        if key == "videos" and isinstance(value, dict) and position is not None and "file_names" not in value:
            self.groups.append(position)
        elif key in ("videos", "images") and position is not None:
            self._take_video(key, position, value)
        elif key == "annotations" and position is not None:
            self._take_annotation(position, value)
        elif key == "annotations":
            if value is not None and value != []:
                raise self.error(_NOT_THIS_FORMAT, "'annotations' must be a list or null")
            self.labelled = value is not None
        elif key in ("videos", "images") and value != []:
            raise self.error(_NOT_THIS_FORMAT, f"{key!r} must be a list")
        elif key == "categories":
            self.categories = self._read_categories(value)

    def _read_categories(self, value: Any) -> Categories:
        if not isinstance(value, list):
            raise self.error(_NOT_THIS_FORMAT, "'categories' must be a list of objects with 'id' and 'name'")
        read = [self._checked(read_category, entry, f"categories[{i}]", "category") for i, entry in enumerate(value)]
        ids = tuple(identity for identity, _ in read)
        if len(set(ids)) < len(ids):
            twice = Counter(ids).most_common(1)[0][0]
            raise self.error("a category id twice", f"category id {twice} occurs twice in 'categories'")
        return Categories(ids, tuple(name for _, name in read))

    def _take_video(self, key: str, position: int, entry: Any) -> None:
        read = read_image if key == "images" else partial(read_video, with_files=True)
        video = self._checked(read, entry, f"{key}[{position}]", key.removesuffix("s"))
        self.video_ids.append(video.id)
        self.video_sizes.extend((video.height, video.width))
        for name in video.file_names or ():
            self.names += name.encode()
            self.name_starts.append(len(self.names))
        self.frame_starts.append(len(self.name_starts) - 1)

    def _take_annotation(self, position: int, entry: Any) -> None:
        track = self._checked(read_track, entry, f"annotations[{position}]", "annotation")
        packs: list[tuple[Encoding, bytes]] = []
        outlines: list[float] = []
        size = (0, 0)
        for frame, value in enumerate(track.segmentations):
            try:
                segmentation = read_segmentation(value)
                encoding, data, stated = packed(segmentation)
                if stated is not None and stated != size:
                    if size != (0, 0):
                        raise ValueError(f"'size' is {list(stated)}, earlier in this annotation it was {list(size)}")
                    size = stated
            except ValueError as error:
                message = f"annotation {track.id}: segmentations[{frame}]: {error}"
                raise self.error("a segmentation that cannot be read", message) from None
            if isinstance(segmentation, Polygons):
                outlines += (len(self.encodings) + frame, segmentation.reach, segmentation.length)
            packs.append((encoding, data))
        ids = (track.id, track.video_id, track.category_id)
        self.annotations.extend((*ids, track.crowd, len(self.encodings), len(packs), *size))
        self.outlines.extend(outlines)
        for encoding, data in packs:
            self.encodings.append(encoding)
            self.data += data
            self.data_starts.append(len(self.data))

    def _checked(self, read: Callable[[Any], _Entry], entry: Any, place: str, word: str) -> _Entry:
        """Reads an entry; errors name it by its id if it has one, else by its position."""
        try:
            return read(entry)
        except EntryError as error:
            number = None if isinstance(error, MissingKeyError) else whole_number(entry.get("id"))
            where = place if number is None else f"{word} {shown(number)}"
            raise self.error(error.kind, f"{where}{error}") from None

    @property
    def rows(self) -> Ints:
        """(A, 8), the annotations so far."""
        return _column(self.annotations).reshape(-1, 8)

    def faults(self) -> Iterator[Fault]:
        """The rules that can only be checked once everything has been read; those on annotations follow `rows`.

        Raises:
            AnnotationError: the file is not in this format at all.
        """
        of_images = "images" in self.seen
        for key in ("images" if of_images else "videos", "categories"):
            if key not in self.seen:
                raise self.error(_NOT_THIS_FORMAT, f"not a YouTube-VIS or COCO file, it has no {key!r}")
        if not of_images:
            needed = "needs 'id', 'height', 'width' and 'file_names'"
            nameless = np.ones(len(self.groups), dtype=np.bool_)
            yield Fault(KEY_MISSING, nameless, lambda i: f"videos[{self.groups[i]}] {needed}")
        videos, rows = _column(self.video_ids), self.rows
        yield Fault(_ID_TWICE, _repeats(videos), lambda i: f"video id {videos[i]} occurs twice in 'videos'")
        ids = rows[:, ID]
        yield Fault("an annotation id twice", _repeats(ids), lambda i: f"annotation id {ids[i]} occurs twice")
        known = _positions(rows[:, VIDEO], videos)
        yield Fault(
            "an annotation of an unknown video",
            known < 0,
            lambda i: (
                f"annotation {ids[i]}: {'image_id' if of_images else 'video_id'!r} is {rows[i, VIDEO]}, "
                f"which is not in {'images' if of_images else 'videos'!r}"
            ),
        )
        yield Fault(
            "an unknown category",
            _positions(rows[:, CATEGORY], self.categories.ids) < 0,
            lambda i: f"annotation {ids[i]}: 'category_id' is {rows[i, CATEGORY]}, which is not in 'categories'",
        )
        lengths = np.append(np.diff(_column(self.frame_starts)), 0)[known]
        yield Fault(
            "a list of the wrong length",
            (known >= 0) & (rows[:, COUNT] != lengths),
            lambda i: (
                f"annotation {ids[i]}: 'segmentations' has {rows[i, COUNT]} entries, "
                f"video {rows[i, VIDEO]} has {lengths[i]} frames"
            ),
        )
        sizes = np.append(_column(self.video_sizes), [0, 0]).reshape(-1, 2)[known]
        yield Fault(
            "masks of another size than their video",
            (known >= 0) & (rows[:, HEIGHT] > 0) & (rows[:, HEIGHT:] != sizes).any(axis=1),
            lambda i: (
                f"annotation {ids[i]}: 'size' is {rows[i, HEIGHT:].tolist()}, "
                f"video {rows[i, VIDEO]} is {sizes[i].tolist()} (height, width)"
            ),
        )

    def index(self, keep: npt.NDArray[np.bool_] | None = None) -> Index:
        """The columns; `keep` (A,) leaves annotations out. Those kept must be free of faults."""
        rows = self.rows if keep is None else self.rows[keep]
        videos = _positions(rows[:, VIDEO], _column(self.video_ids))
        order = np.argsort(videos, kind="stable")
        rows, videos = rows[order], videos[order]
        encodings, frame_starts = _bytes(self.encodings), _column(self.frame_starts)
        learned = rows[:, CROWD] == 0
        return Index(
            video_ids=_column(self.video_ids),
            video_sizes=_column(self.video_sizes).reshape(-1, 2),
            frame_starts=frame_starts,
            name_starts=_column(self.name_starts),
            names=_bytes(self.names),
            annotation_ids=rows[:, ID].copy(),
            labels=_positions(rows[:, CATEGORY], self.categories.ids) + 1,
            crowds=rows[:, CROWD].astype(np.uint8),
            annotation_starts=np.searchsorted(videos, np.arange(len(self.video_ids) + 1)),
            segment_starts=rows[:, FIRST].copy(),
            encodings=encodings,
            data_starts=_column(self.data_starts),
            data=_bytes(self.data),
            annotated_frames=annotated_frames(
                first_frames=frame_starts[videos[learned]],
                lengths=rows[learned, COUNT],
                segment_starts=rows[learned, FIRST],
                encodings=encodings,
            ),
            labelled=np.array([self.labelled], dtype=np.uint8),
        )


def _positions(ids: Ints, known: Ints | tuple[int, ...]) -> Ints:
    """Where each id is in `known`; -1 where it is not."""
    table = np.asarray(known, dtype=np.int64)
    if len(table) == 0:
        return np.full(len(ids), -1)
    order = np.argsort(table, kind="stable")
    found = order[np.minimum(np.searchsorted(table[order], ids), len(table) - 1)]
    return np.where(table[found] == ids, found, -1)


def _repeats(ids: Ints) -> npt.NDArray[np.bool_]:
    """True for each id that occurred before."""
    _, first = np.unique(ids, return_index=True)
    repeated = np.ones(len(ids), dtype=np.bool_)
    repeated[first] = False
    return repeated


def _column(values: array[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _bytes(values: bytearray) -> Bytes:
    return np.frombuffer(values, dtype=np.uint8)
