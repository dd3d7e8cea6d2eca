"""The contents of a YouTube-VIS file as columns: a few flat arrays, however many videos there are.

Arrays are shared by worker processes and can be mapped from a file; a million Python objects cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stmask.data.segmentation import Encoding

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


def annotated_frames(*, first_frames: Ints, lengths: Ints, segment_starts: Ints, encodings: Bytes) -> Ints:
    """Frames in which at least one of the given annotations has a segmentation, ascending.

    Args:
        first_frames, lengths: (N,), the first frame and the number of frames of each annotation's video.
        segment_starts: (N,), encodings: (S,), see `Index`.
    """
    position = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # in its video
    present = encodings[np.repeat(segment_starts, lengths) + position] != Encoding.ABSENT
    return np.unique((np.repeat(first_frames, lengths) + position)[present])


@dataclass(frozen=True, slots=True)
class Categories:
    """The classes of a dataset: `ids` as in the file, `names` in the same order; label i is ids[i - 1]."""

    ids: tuple[int, ...]
    names: tuple[str, ...]
