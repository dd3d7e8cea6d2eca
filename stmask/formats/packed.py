"""The masks of many tracks in one text and one table, straight from a file if it is large.

A small C module does the work; without it, arrays and pycocotools do, many times slower.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stmask.formats.runs import mask_areas

if TYPE_CHECKING:  # importing the records would import torch, which scoring files does not need
    from stmask.structures import RLE

_HAS_MODULE = importlib.util.find_spec(f"{__package__}._masks") is not None  # from a wheel, or built with a compiler
_compiled: Any = importlib.import_module(f"{__package__}._masks") if _HAS_MODULE else None

Segmentations: TypeAlias = "Sequence[RLE | None]"

# as the C module has it
_ROW = np.dtype(
    [("begin", np.int64), *((name, np.int32) for name in ("length", "height", "width", "area", "first", "last"))]
)

# stands in where a track is absent: no area and an empty box, so it overlaps nothing
_ABSENT: RLE = {"size": [1, 1], "counts": "1"}


@dataclass(frozen=True, slots=True, eq=False)
class PackedMasks:
    """M masks of several tracks, one after the other.

    Attributes:
        text: has all compressed run lengths; as in a JSON file, a quotation mark follows each and backslashes are
            doubled.
        table: (M,) where the run lengths are, `height` (0 for no mask) and `width`, the `area` in pixels (-1 if the run
            lengths are not those of such a mask), and the positions of the `first` pixel and behind the `last`.
    """

    text: bytes
    table: npt.NDArray[np.void]

    def __getitem__(self, index: int) -> RLE | None:
        begin, length, height, width, *_ = self.table[index].item()
        if not height:
            return None
        counts = self.text[begin : begin + length].decode("ascii").replace("\\\\", "\\")
        return {"size": [height, width], "counts": counts}


class PackedTrack(Sequence["RLE | None"]):
    """One track of `PackedMasks`: a mask or None per frame, made when asked for."""

    __slots__ = ("begin", "end", "masks")

    def __init__(self, masks: PackedMasks, begin: int, end: int) -> None:
        self.masks = masks
        self.begin = begin
        self.end = end

    def __len__(self) -> int:
        return self.end - self.begin

    @overload
    def __getitem__(self, frame: int) -> RLE | None: ...
    @overload
    def __getitem__(self, frame: slice) -> PackedTrack: ...
    def __getitem__(self, frame: int | slice) -> RLE | PackedTrack | None:
        places = range(self.begin, self.end)[frame]
        if isinstance(places, int):
            return self.masks[places]
        if places.step != 1:
            raise ValueError(f"a part of a track is without gaps, got {frame}")
        return PackedTrack(self.masks, places.start, max(places.start, places.stop))

    def frames(self) -> list[int]:
        """Those with a mask, be it without a pixel."""
        frames: list[int] = np.flatnonzero(self.masks.table["height"][self.begin : self.end]).tolist()
        return frames

    @property
    def areas(self) -> npt.NDArray[np.int32]:
        """(T,) in pixels, 0 where absent and -1 for a mask that is not sound."""
        areas: npt.NDArray[np.int32] = self.masks.table["area"][self.begin : self.end]
        return areas


def read_packed(text: bytes) -> tuple[bytes, Iterator[PackedTrack]] | None:
    """The rest of a JSON text, with NaN for every list of masks under "segmentations", and these lists in order.

    No object in it has a key twice. None if there are no such lists, if it has a NaN already or perhaps a key twice, or
    without the C module. A list that holds anything but compressed masks (sound or not) and null stays where it is.
    """
    found = _compiled.scan(text) if _compiled else None
    if found is None:
        return None
    rest, table, lengths = found
    masks = PackedMasks(text, np.frombuffer(table, dtype=_ROW))
    ends = np.cumsum(np.frombuffer(lengths, dtype=np.int64)).tolist()
    return rest, (PackedTrack(masks, begin, end) for begin, end in pairwise([0, *ends]))


def pack(tracks: Sequence[Segmentations], sizes: Sequence[tuple[int, int]]) -> list[PackedTrack]:
    """N tracks in videos of (height, width) `sizes`; their masks have one text and one table.

    A mask of another size, or anything that is not a mask with text as counts, gets an area of -1.
    """
    lengths = list(map(len, tracks))
    expected = np.repeat(np.array(sizes, dtype=np.int32).reshape(-1, 2), lengths, axis=0)
    masks = _common_masks(tracks)
    if masks is not None:
        table = _rows(masks, tracks)
        other_size = (table["height"] != expected[:, 0]) | (table["width"] != expected[:, 1])
        other_size &= table["height"] > 0
        if not other_size.any():
            return list(tracks)  # type: ignore[arg-type]
        table = table.copy()
        table["area"][other_size] = -1
        masks = PackedMasks(masks.text, table)
    else:
        masks = _packed(list(chain.from_iterable(tracks)), expected)
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    return [PackedTrack(masks, begin, end) for begin, end in pairwise([0, *ends])]


def rows_of(tracks: Sequence[PackedTrack]) -> tuple[bytes, npt.NDArray[np.void]]:
    """The text and the rows of the table of some tracks of one `pack`, or of none, one after the other."""
    if not tracks:
        return b"", np.zeros(0, dtype=_ROW)
    masks = _common_masks(tracks)
    if masks is None:
        raise ValueError("expected tracks that were packed together")
    return masks.text, _rows(masks, tracks)


def _common_masks(tracks: Sequence[Any]) -> PackedMasks | None:
    if set(map(type, tracks)) != {PackedTrack}:
        return None
    masks: PackedMasks = tracks[0].masks
    return masks if all(track.masks is masks for track in tracks) else None


def _rows(masks: PackedMasks, tracks: Sequence[Any]) -> npt.NDArray[np.void]:
    begins = np.array([track.begin for track in tracks], dtype=np.int64)
    ends = np.array([track.end for track in tracks], dtype=np.int64)
    if (begins[1:] == ends[:-1]).all():  # as they come from a file
        return masks.table[begins[0] : ends[-1]]
    before = np.cumsum(ends - begins) - (ends - begins)
    places = np.repeat(begins - before, ends - begins)
    return masks.table[places + np.arange(len(places))]


def _packed(frames: list[Any], sizes: npt.NDArray[np.int32]) -> PackedMasks:
    """Masks or None, and the size that each should have."""
    present = [index for index, mask in enumerate(frames) if mask is not None]
    expected = sizes[present]
    sound = map(is_mask, map(frames.__getitem__, present), expected.tolist())
    counts = [frames[index]["counts"] if good else "" for index, good in zip(present, sound, strict=True)]
    escaped = [text.replace("\\", "\\\\") for text in counts]
    lengths = np.fromiter(map(len, escaped), dtype=np.int32, count=len(escaped))
    table = np.zeros(len(frames), dtype=_ROW)
    for name, values in (
        ("length", lengths),
        ("begin", np.cumsum(lengths + 1, dtype=np.int64) - (lengths + 1)),
        ("height", expected[:, 0]),
        ("width", expected[:, 1]),
    ):
        table[name][present] = values
    text = "".join([part + '"' for part in escaped]).encode("ascii")
    if _compiled:
        table = np.frombuffer(_compiled.areas(text, table.tobytes()), dtype=_ROW)
    else:
        table["area"][present] = mask_areas(counts, expected.astype(np.int64).prod(axis=1))
    return PackedMasks(text, table)


def is_mask(mask: Any, size: list[int]) -> bool:
    """Whether something is an RLE of that [height, width] with text as counts, sound or not."""
    if not isinstance(mask, dict) or not isinstance(mask.get("size"), list) or mask["size"] != size:
        return False
    counts = mask.get("counts")
    return isinstance(counts, str) and counts.isascii()


def shared_pixels(
    first: Sequence[PackedTrack], second: Sequence[PackedTrack], groups: npt.NDArray[np.int64], *, per_frame: bool
) -> npt.NDArray[np.int64]:
    """Pixels that tracks of two sides share within (N, 3) groups of D tracks, G others and T frames, in their order.

    For each group (D, G) sums over the frames or, if `per_frame`, (T, D, G); all in one array, flattened.
    """
    if _compiled:
        sides = [(text, rows.tobytes()) for text, rows in map(rows_of, (first, second))]
        plan = np.ascontiguousarray(groups, dtype=np.int64).tobytes()
        return np.frombuffer(_compiled.intersections(*sides[0], *sides[1], plan, per_frame), dtype=np.int64)
    parts = [np.zeros(0, dtype=np.int64)]
    done = [0, 0]
    for d, g, _ in groups.tolist():
        ours, theirs = first[done[0] : done[0] + d], second[done[1] : done[1] + g]
        shared = _shared_in_frames(ours, theirs)
        parts.append((shared if per_frame else shared.sum(axis=0)).ravel())
        done = [done[0] + d, done[1] + g]
    return np.concatenate(parts)


def _shared_in_frames(first: Sequence[PackedTrack], second: Sequence[PackedTrack]) -> npt.NDArray[np.int64]:
    """(T, D, G)."""
    crowds = [1] * len(second)  # for these pycocotools divides by the first mask's area, which can be undone exactly
    shares = [
        coco_mask.iou([mask or _ABSENT for mask in ours], [mask or _ABSENT for mask in theirs], crowds)
        for ours, theirs in zip(zip(*first, strict=True), zip(*second, strict=True), strict=True)
    ]
    areas = np.stack([track.areas for track in first], axis=1)  # (T, D)
    return np.rint(np.stack(shares) * areas[:, :, None]).astype(np.int64)
