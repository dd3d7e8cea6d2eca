"""Finds everything wrong with a dataset in one pass, instead of one error at a time."""

from __future__ import annotations

import os
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from stmask.data.images import describe_turn, swaps_sides
from stmask.data.index import Index
from stmask.data.jsonstream import stream_object
from stmask.data.layouts import find_frames
from stmask.data.plausibility import SharedMasks, check_categories, check_videos
from stmask.data.reader import FAULTS_OF_VIDEOS, LISTS, AnnotationError, AnnotationReader
from stmask.data.report import Report
from stmask.data.segmentation import Encoding, measure
from stmask.data.stated import BOX_TOLERANCE, area_is_off, box_error, convention_of, lists_of, stated_in
from stmask.data.ytvis import VideoDataset
from stmask.errors import DataError

_SAMPLE = 20  # videos whose first frame is read in any case: most faults of frames affect all of them
NOTHING_TO_LEARN = "nothing to learn from"


def check_split(
    annotations: Path,
    *,
    root: Path,
    split: str,
    frames: Path | None = None,
    look_for_frames: bool = True,
    read_frames: bool = False,
    threads: int = 4,
) -> Report:
    """Checks an annotation file and the frames it names.

    Args:
        root, split: where the folder of frames is looked for unless `frames` gives it.
        look_for_frames: False checks the annotations alone.
        read_frames: decode every frame, instead of decoding a few and checking that the others exist.
        threads: for reading frames.
    """
    report = Report(annotations, frames)
    reader, raw_categories, stated = _read(report)
    if reader is None:
        return report
    index = _resolve(report, reader)
    report.annotated_frames = len(index.annotated_frames)
    report.labelled = reader.labelled
    dataset = VideoDataset(annotations, frames or root, contents=(reader.categories, index))
    report.dataset = dataset
    _check_masks(report, index, stated)
    check_categories(report, dataset, raw_categories)
    check_videos(report, dataset, of_images="images" in reader.seen)
    if not report.videos:
        report.add("nothing in it", f"{annotations} has no videos", fatal=True)
        return report
    try:
        if look_for_frames:
            report.frames = frames or find_frames(root, split, dataset.some_file_names())
            dataset.frames_path = report.frames
            _check_frames(report, dataset, read=read_frames, threads=threads)
    except DataError as error:
        report.add("no folder of frames", str(error), fatal=True)
    if reader.labelled and not report.annotated_frames:
        only_crowds = f"all {report.masks} masks are crowd regions ('iscrowd': 1)"
        message = only_crowds if report.masks else "no annotation has a mask in any frame"
        report.add(NOTHING_TO_LEARN, message, fatal=True)
    return report


def _read(report: Report) -> tuple[AnnotationReader | None, Any, array[float]]:
    """Reads all readable entries, the raw categories, and what is stated about each segmentation."""
    reader, categories, stated = AnnotationReader(report.annotations), None, array("f")
    try:
        for key, position, value in stream_object(report.annotations, LISTS):
            categories = value if key == "categories" else categories
            try:
                reader.take(key, position, value)
            except AnnotationError as error:
                report.add(error.kind, str(error), fatal=True)
                continue
            if key == "annotations" and position is not None:
                masks = value[lists_of(value)[0]] if "segmentations" in value else [None]
                values, wrong = stated_in(value, len(masks))
                stated.extend(values)
                for kind, message in wrong:
                    where = f"{report.annotations}: annotation {value['id']}"
                    report.add(kind, f"{where}: {message}", fatal=False)
    except DataError as error:
        report.add("the file cannot be read", str(error), fatal=True)
        return None, None, stated
    return reader, categories, stated


def _resolve(report: Report, reader: AnnotationReader) -> Index:
    """Reports dangling references, and makes an index of the rest."""
    usable = np.ones(len(reader.rows), dtype=np.bool_)
    try:
        for fault in reader.faults():
            if not fault.wrong.any():
                continue
            message = f"{report.annotations}: {fault.describe(int(fault.wrong.argmax()))}"
            report.add(fault.kind, message, fatal=True, count=int(fault.wrong.sum()))
            if fault.kind not in FAULTS_OF_VIDEOS:
                usable &= ~fault.wrong
    except AnnotationError as error:
        report.add(error.kind, str(error), fatal=True)
        usable[:] = False
    index = reader.index(usable)
    report.videos, report.frame_count = len(index.video_ids), int(index.frame_starts[-1])
    report.tracks = int(usable.sum())
    return index


def _check_masks(report: Report, index: Index, stated: array[float]) -> None:
    """Reads every mask: do its run lengths fill the frame, do box and area agree, does the track have any pixel?"""
    table = np.frombuffer(stated, dtype=np.float32).reshape(-1, 5) if stated else np.zeros((0, 5), np.float32)
    for video in range(len(index.video_ids)):
        shared = SharedMasks(report, index)
        for row in range(int(index.annotation_starts[video]), int(index.annotation_starts[video + 1])):
            _check_track(report, index, video, row, table=table, shared=shared)
        shared.finish(video)


def _check_track(report: Report, index: Index, video: int, row: int, *, table: Any, shared: SharedMasks) -> None:
    number = index.annotation_ids[row]
    height, width = (int(n) for n in index.video_sizes[video])
    first, seen = int(index.segment_starts[row]), 0
    length = int(index.frame_starts[video + 1] - index.frame_starts[video])
    has_boxes = not np.isnan(table[first : first + length, 0]).all()
    for position in range(length):
        segment = first + position
        *box_px, area_px = (round(n, 3) for n in table[segment].tolist())
        where = f"{report.annotations}: annotation {number}: segmentations[{position}]"
        if index.encodings[segment] == Encoding.ABSENT:
            if min(box_px[2:]) > 0:
                report.add("a box without a mask", f"{where} is null, its box is {box_px}", fatal=False)
            continue
        report.masks += 1
        data = index.data[index.data_starts[segment] : index.data_starts[segment + 1]].tobytes()
        try:
            area, box = measure(int(index.encodings[segment]), data, height, width)
        except ValueError as error:
            report.add("a mask that does not fit its frame", f"{where}: {error}", fatal=True)
            continue
        seen += area
        if area == 0:
            report.add("a mask without a pixel", where, fatal=False)
            continue
        shared.add(row, position, segment=segment, area=area, box=box)
        if has_boxes and np.isnan(box_px[0]):
            report.add("a mask without a box", where, fatal=False)
        if (error_px := box_error(box_px, box)) > BOX_TOLERANCE:
            said = f"{box_px}, the mask says {list(box)}"
            if convention := convention_of(box_px, box, height=height, width=width):
                message = f"{where} is {said}: the numbers are {convention} in place of x, y, width, height"
                report.add("a box in another convention", message, fatal=False)
            else:
                message = f"{where} is off by {error_px:.0f} pixels: {said}"
                report.add("a box that disagrees with its mask", message, fatal=False)
        if area_is_off(area_px, area, box):
            message = f"{where} is {area_px:g}, the mask has {area} pixels"
            report.add("an area that disagrees with its mask", message, fatal=False)
    if seen == 0:
        report.add("a track without a mask", f"{report.annotations}: annotation {number}", fatal=False)


def _check_frames(report: Report, dataset: VideoDataset, *, read: bool, threads: int) -> None:
    """Looks for every frame, and reads all or some to compare their size with the annotations."""
    report.frames_read = read
    some = np.linspace(0, report.videos - 1, min(_SAMPLE, report.videos)).round().astype(np.int64)
    sample = set(dataset.index.frame_starts[some].tolist())
    report.sampled = len(sample)

    def look(frame: int) -> tuple[str, str, bool] | None:
        video, position = dataset.locate(frame)
        path = dataset.frame_path(video, position)
        if not os.path.isfile(path):
            windows = " (it has Windows separators, write / for each)" if "\\" in dataset.file_name(frame) else ""
            return "a missing frame", f"{path}{windows}", True
        try:
            if not read and frame not in sample:
                return None
            image, orientation = dataset.read_oriented(video, position)
        except DataError as error:
            return "a frame that cannot be used", str(error), True
        if orientation == 1:
            return None
        turned = f"{path} is {describe_turn(orientation)}"
        if swaps_sides(orientation) and image.shape[0] != image.shape[1]:
            how = "it is read in the orientation that has the annotated size"
            return "an EXIF orientation that the annotated size settles", f"{turned}; {how}", False
        how = "it is read upright: check with `stmask data show` that the masks lie on the objects, else remove the tag"
        return "an EXIF orientation that nothing confirms", f"{turned}; {how}", False

    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(look, range(report.frame_count)):
            if found is not None:
                kind, message, fatal = found
                report.add(kind, message, fatal=fatal)
