"""Checks whether the masks of an index can be decoded, without decoding them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stmask.data.index import Index, Ints
from stmask.data.segmentation import Encoding, decode
from stmask.formats.runs import mask_areas
from stmask.formats.segmentation import is_drawable

_AT_ONCE = 1 << 14  # masks whose text is held at a time


def first_broken_mask(index: Index, outlines: npt.NDArray[np.float64]) -> str | None:
    """Names the first mask whose run lengths do not fill its frame or whose polygons are far outside; None if all fit.

    Args:
        outlines: (P, 3) number, reach and length of the segmentations that are polygons.
    """
    lengths = np.repeat(np.diff(index.frame_starts), np.diff(index.annotation_starts))
    rows = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    segments = index.segment_starts[rows] + positions
    videos = np.repeat(np.arange(len(index.video_ids)), np.diff(index.annotation_starts))[rows]
    suspects = np.concatenate(
        [_broken_runs(index, segments, videos), _wild_polygons(index, segments, videos, outlines)]
    )
    for place in np.sort(suspects).tolist():
        segment, (height, width) = int(segments[place]), index.video_sizes[videos[place]].tolist()
        data = index.data[index.data_starts[segment] : index.data_starts[segment + 1]].tobytes()
        try:
            decode(int(index.encodings[segment]), data, height, width)
        except ValueError as error:
            return f"annotation {index.annotation_ids[rows[place]]}: segmentations[{positions[place]}]: {error}"
    return None


def _broken_runs(index: Index, segments: Ints, videos: Ints) -> Ints:
    """The segmentations that are run lengths which cannot be decoded or do not fill the frame."""
    pixels = index.video_sizes.prod(axis=1)
    places = np.flatnonzero(index.encodings[segments] == Encoding.RUNS)
    found = [np.zeros(0, dtype=np.int64)]
    for first in range(0, len(places), _AT_ONCE):
        some = places[first : first + _AT_ONCE]
        starts, ends = (index.data_starts[segments[some] + side].tolist() for side in (0, 1))
        text = [index.data[start:end].tobytes().decode("ascii") for start, end in zip(starts, ends, strict=True)]
        found.append(some[mask_areas(text, pixels[videos[some]]) < 0])
    return np.concatenate(found)


def _wild_polygons(index: Index, segments: Ints, videos: Ints, outlines: npt.NDArray[np.float64]) -> Ints:
    """The segmentations that are polygons which may be far outside the frame or too long."""
    place_of = np.empty(len(index.encodings), dtype=np.int64)
    place_of[segments] = np.arange(len(segments))
    places = place_of[outlines[:, 0].astype(np.int64)]
    sizes = index.video_sizes[videos[places]].tolist()
    wild = [
        not is_drawable(reach, length, height, width)
        for (_, reach, length), (height, width) in zip(outlines.tolist(), sizes, strict=True)
    ]
    return places[np.array(wild, dtype=np.bool_)]
