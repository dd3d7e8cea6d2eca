"""The contents of a YouTube-VIS file as columns: a few flat arrays, however many videos there are.

Arrays are shared by worker processes and can be mapped from a file; a million Python objects cannot.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stmask.data.jsonstream import stream_object
from stmask.data.segmentation import Encoding, pack
from stmask.errors import DataError

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Index:
    """V videos with F frames, A annotations with S segmentations (one per frame of their video).

    Attributes:
        video_ids: (V,), as in the file.
        video_sizes: (V, 2), (height, width).
        frame_starts: (V + 1,), the frames of video v are frame_starts[v] : frame_starts[v + 1] of all frames.
        name_starts, names: (F + 1,) and bytes; the file name of frame f is names[name_starts[f] : name_starts[f + 1]].
        annotation_ids, labels, crowds: (A,), grouped by video; labels are 1..K in the order of the file's categories.
        annotation_starts: (V + 1,), the annotations of each video.
        segment_starts: (A,), the first of the segmentations of each annotation.
        encodings: (S,), see `Encoding`.
        data_starts, data: (S + 1,) and bytes of the packed segmentations.
        annotated_frames: frames with at least one instance to learn from (not crowd, not absent), ascending.
        labelled: (1,), 0 for a file without annotations.
    """

    video_ids: Ints
    video_sizes: Ints
    frame_starts: Ints
    name_starts: Ints
    names: Bytes
    annotation_ids: Ints
    labels: Ints
    crowds: Bytes
    annotation_starts: Ints
    segment_starts: Ints
    encodings: Bytes
    data_starts: Ints
    data: Bytes
    annotated_frames: Ints
    labelled: Bytes


@dataclass(frozen=True, slots=True)
class Categories:
    """The classes of a dataset: `ids` as in the file, `names` in the same order; label i is ids[i - 1]."""

    ids: tuple[int, ...]
    names: tuple[str, ...]


def read_index(path: Path) -> tuple[Categories, Index]:
    """Reads and validates a YouTube-VIS annotation file.

    Raises:
        DataError: naming the file and, where it applies, the annotation's id and the key that is wrong.
    """
    reader = _Reader(path)
    for key, position, value in stream_object(path, ("videos", "annotations")):
        reader.take(key, position, value)
    return reader.finish()


class _Reader:
    """Collects the members of the file in whatever order they come, and checks what refers to what at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: set[str] = set()
        self.labelled = False
        self.categories = Categories((), ())
        self.video_ids, self.video_sizes = array("q"), array("q")
        self.frame_starts, self.name_starts, self.names = array("q", [0]), array("q", [0]), bytearray()
        # One row per annotation: id, video id, category id, crowd, first segmentation, count, stated height and width.
        self.annotations = array("q")
        self.encodings, self.data_starts, self.data = bytearray(), array("q", [0]), bytearray()

    def fail(self, message: str) -> DataError:
        return DataError(f"{self.path}: {message}")

    def take(self, key: str, position: int | None, value: Any) -> None:
        self.seen.add(key)
        if key == "videos" and position is not None:
            self._take_video(position, value)
        elif key == "annotations" and position is not None:
            self._take_annotation(position, value)
        elif key == "annotations":
            if value is not None and value != []:
                raise self.fail("'annotations' must be a list or null")
            self.labelled = value is not None
        elif key == "videos" and value != []:
            raise self.fail("'videos' must be a list")
        elif key == "categories":
            self.categories = self._read_categories(value)

    def _read_categories(self, value: Any) -> Categories:
        try:
            ids = tuple(int(category["id"]) for category in value)
            names = tuple(str(category["name"]) for category in value)
        except (KeyError, TypeError, ValueError):
            raise self.fail("'categories' must be a list of objects with 'id' and 'name'") from None
        if len(set(ids)) < len(ids):
            raise self.fail(f"category id {_first_repeated(ids)} occurs twice in 'categories'")
        return Categories(ids, names)

    def _take_video(self, position: int, video: Any) -> None:
        try:
            video_id, height, width = int(video["id"]), int(video["height"]), int(video["width"])
            names = video["file_names"]
        except (KeyError, TypeError, ValueError) as error:
            raise self.fail(f"videos[{position}] needs 'id', 'height', 'width' and 'file_names' ({error!r})") from None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise self.fail(f"video {video_id}: 'file_names' must be a list of at least one file name")
        if video.get("length", len(names)) != len(names):
            raise self.fail(f"video {video_id}: 'length' is {video['length']}, but it has {len(names)} 'file_names'")
        if height < 1 or width < 1:
            raise self.fail(f"video {video_id}: 'height' and 'width' must be positive, got {height} and {width}")
        self.video_ids.append(video_id)
        self.video_sizes.extend((height, width))
        for name in names:
            self.names += name.encode()
            self.name_starts.append(len(self.names))
        self.frame_starts.append(len(self.name_starts) - 1)

    def _take_annotation(self, position: int, annotation: Any) -> None:
        try:
            fields = [int(annotation[key]) for key in ("id", "video_id", "category_id")]
            segmentations = annotation["segmentations"]
        except (KeyError, TypeError, ValueError) as error:
            needed = "'id', 'video_id', 'category_id' and 'segmentations'"
            raise self.fail(f"annotations[{position}] needs {needed} ({error!r})") from None
        if not isinstance(segmentations, list):
            raise self.fail(f"annotation {fields[0]}: 'segmentations' must be a list with one entry per frame")
        size: tuple[int, int] = (0, 0)
        first = len(self.encodings)
        for frame, segmentation in enumerate(segmentations):
            try:
                encoding, packed, stated = pack(segmentation)
                if stated is not None and stated != size:
                    if size != (0, 0):
                        raise ValueError(f"'size' is {list(stated)}, earlier in this annotation it was {list(size)}")
                    size = (int(stated[0]), int(stated[1]))
            except (TypeError, ValueError) as error:
                raise self.fail(f"annotation {fields[0]}: segmentations[{frame}]: {error}") from None
            self.encodings.append(encoding)
            self.data += packed
            self.data_starts.append(len(self.data))
        self.annotations.extend((*fields, int(bool(annotation.get("iscrowd"))), first, len(segmentations), *size))

    def finish(self) -> tuple[Categories, Index]:
        for key in ("videos", "categories"):
            if key not in self.seen:
                hint = "; it looks like an image dataset" if "images" in self.seen else ""
                raise self.fail(f"not a YouTube-VIS file, it has no {key!r}{hint}")
        video_ids = _column(self.video_ids)
        if (repeated := _first_repeated(video_ids)) is not None:
            raise self.fail(f"video id {repeated} occurs twice in 'videos'")
        sizes, frame_starts = _column(self.video_sizes).reshape(-1, 2), _column(self.frame_starts)
        rows = _column(self.annotations).reshape(-1, 8)
        videos = self._resolve(rows, 1, video_ids, "video_id", "videos")
        labels = self._resolve(rows, 2, np.array(self.categories.ids, dtype=np.int64), "category_id", "categories") + 1
        self._check_annotations(rows, sizes[videos], np.diff(frame_starts)[videos])

        order = np.argsort(videos, kind="stable")
        rows, videos, labels = rows[order], videos[order], labels[order]
        encodings = _bytes(self.encodings)
        return self.categories, Index(
            video_ids=video_ids,
            video_sizes=sizes,
            frame_starts=frame_starts,
            name_starts=_column(self.name_starts),
            names=_bytes(self.names),
            annotation_ids=rows[:, 0].copy(),
            labels=labels,
            crowds=rows[:, 3].astype(np.uint8),
            annotation_starts=np.searchsorted(videos, np.arange(len(video_ids) + 1)),
            segment_starts=rows[:, 4].copy(),
            encodings=encodings,
            data_starts=_column(self.data_starts),
            data=_bytes(self.data),
            annotated_frames=_annotated_frames(rows[rows[:, 3] == 0], frame_starts[videos[rows[:, 3] == 0]], encodings),
            labelled=np.array([self.labelled], dtype=np.uint8),
        )

    def _resolve(self, rows: Ints, column: int, known: Ints, key: str, where: str) -> Ints:
        """Positions in `known` of a column of ids."""
        order = np.argsort(known)
        found = np.searchsorted(known[order], rows[:, column])
        positions = order[np.minimum(found, len(known) - 1)] if len(known) else np.zeros_like(found)
        wrong = known[positions] != rows[:, column] if len(known) else np.ones(len(rows), dtype=bool)
        if wrong.any():
            row = rows[int(wrong.argmax())]
            raise self.fail(f"annotation {row[0]}: {key!r} is {row[column]}, which is not in {where!r}")
        return np.asarray(positions, dtype=np.int64)

    def _check_annotations(self, rows: Ints, sizes: Ints, lengths: Ints) -> None:
        if (repeated := _first_repeated(rows[:, 0])) is not None:
            raise self.fail(f"annotation id {repeated} occurs twice in 'annotations'")
        wrong = rows[:, 5] != lengths
        if wrong.any():
            row, length = rows[int(wrong.argmax())], lengths[int(wrong.argmax())]
            message = f"annotation {row[0]}: 'segmentations' has {row[5]} entries, video {row[1]} has {length} frames"
            raise self.fail(message)
        wrong = (rows[:, 6:] != sizes).any(axis=1) & (rows[:, 6] > 0)
        if wrong.any():
            row, size = rows[int(wrong.argmax())], sizes[int(wrong.argmax())]
            stated, true = row[6:].tolist(), size.tolist()
            raise self.fail(f"annotation {row[0]}: 'size' is {stated}, video {row[1]} is {true} (height, width)")


def _annotated_frames(rows: Ints, first_frames: Ints, encodings: Bytes) -> Ints:
    """Frames in which at least one of these annotations has a segmentation."""
    counts = rows[:, 5]
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)  # position inside the video
    present = encodings[np.repeat(rows[:, 4], counts) + within] != Encoding.ABSENT
    return np.unique((np.repeat(first_frames, counts) + within)[present])


def _first_repeated(ids: Sequence[int] | Ints) -> int | None:
    values, counts = np.unique(np.asarray(ids, dtype=np.int64), return_counts=True)
    return int(values[counts > 1][0]) if (counts > 1).any() else None


def _column(values: array[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _bytes(values: bytearray) -> Bytes:
    return np.frombuffer(values, dtype=np.uint8)
