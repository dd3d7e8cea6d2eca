from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.builders import box, ground_truth, result_entry, rle, truth_entry

from stmask.errors import DataError
from stmask.evaluation import GroundTruth, check_results, evaluate, read_results, to_results, write_results
from stmask.structures import TrackResult, VideoResult

pytestmark = pytest.mark.usefixtures("each_implementation")

MASK = box(8, 10, 1, 2, 5, 6)
TRUTH = GroundTruth.from_dict(
    ground_truth([(8, 10, 3), (8, 10, 2)], [truth_entry(1, 1, 5, [MASK, MASK, None])], category_ids=(9, 5))
)
GOOD = result_entry(1, 5, 0.5, [MASK, None, MASK])


def changed(**values: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **values}


def with_mask(**values: Any) -> dict[str, Any]:
    return changed(segmentations=[{**rle(MASK), **values}, None, None])


BAD_ENTRIES = {
    "no object": ([1], "expected an object, got list"),
    "no score": ({k: v for k, v in GOOD.items() if k != "score"}, "has no score"),
    "unknown video": (changed(video_id=7), "video_id 7 is not a video"),
    "video id that cannot be a key": (changed(video_id=[1]), "video_id [1] is not a video"),
    "unknown category": (changed(category_id=1), "category_id 1 is not a category"),
    "NaN": (changed(score=math.nan), "score must be a finite number, got nan"),
    "infinite": (changed(score=-math.inf), "score must be a finite number, got -inf"),
    "text as score": (changed(score="0.5"), "score must be a finite number, got '0.5'"),
    "no list": (changed(segmentations=None), "segmentations must be a list, got NoneType"),
    "shorter": (changed(segmentations=[None] * 2), "has 2 segmentations, video 1 has 3 frames"),
    "longer": (changed(segmentations=[None] * 4), "has 4 segmentations, video 1 has 3 frames"),
    "other size": (with_mask(size=[10, 8]), "segmentations[0] has size [10, 8], video 1 has [8, 10]"),
    "text as size": (with_mask(size=["8", 10]), "segmentations[0] has size ['8', 10]"),
    "half a size": (with_mask(size=[8]), "segmentations[0] has size [8]"),
    "tuple as size": (with_mask(size=(8, 10)), "a list of height, width"),
    "no RLE": (changed(segmentations=[None, "abc", None]), "segmentations[1] must be null or an RLE"),
    "bytes": (with_mask(counts=b"abc"), "segmentations[0]: counts are bytes, a str belongs there"),
    "run list": (with_mask(counts=[80]), "counts must be the str of a compressed RLE, got list"),
    "empty": (with_mask(counts=""), "not the run lengths"),
    "runs of a larger frame": (with_mask(counts=rle(box(8, 20, 1, 2, 5, 6))["counts"]), "segmentations[0]: counts are"),
    "cut": (with_mask(counts=rle(MASK)["counts"][:-1]), "not the run lengths of a mask of 8 x 10 pixels"),
    "ends inside a run": (with_mask(counts="P"), "not the run lengths"),
    "a negative run": (with_mask(counts="`21@NW2"), "not the run lengths"),
    "other characters": (with_mask(counts="2é"), "not the run lengths"),
}


@pytest.mark.parametrize(("entry", "message"), BAD_ENTRIES.values(), ids=BAD_ENTRIES.keys())
def test_a_bad_entry_is_named_before_any_scoring(entry: Any, message: str) -> None:
    with pytest.raises(DataError, match=re.escape("results: entry 1: ") + ".*" + re.escape(message)):
        evaluate(TRUTH, [GOOD, entry])


def test_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([changed(score=math.nan)]))
    with pytest.raises(DataError, match=re.escape(f"{path}: entry 0: score must be a finite number, got nan")):
        read_results(path, TRUTH)
    path.write_text("{}")
    with pytest.raises(DataError, match=re.escape(f"{path}: results must be a list of tracks, got dict")):
        read_results(path)
    path.write_text('{"annotations": []}')
    with pytest.raises(DataError, match="list of tracks, got an object with annotations, as a ground truth is"):
        read_results(path)


def test_no_entries_are_good_results() -> None:
    assert len(check_results([], TRUTH)) == 0
    report = evaluate(TRUTH, [])
    assert report.stats["AP"] == 0.0
    assert report.stats["APL"] == -1.0


def test_sizes_of_other_integer_types_and_tuples_of_masks_are_good() -> None:
    mask = {**rle(MASK), "size": [np.int64(8), np.int32(10)]}
    entries = [changed(segmentations=(mask, None, None)), changed(score=np.float32(0.5), video_id=np.int64(1))]
    assert check_results(entries, TRUTH).areas.totals().tolist() == [16, 32]


def test_written_results_can_be_read_back(tmp_path: Path) -> None:
    tracks = (TrackResult(0, 2, 0.25, (rle(MASK), None, None)), TrackResult(3, 1, 0.75, (None, None, rle(MASK))))
    videos = [VideoResult(1, 3, tracks), VideoResult(2, 2, ())]
    write_results(tmp_path / "results.json", videos, TRUTH.category_ids)
    entries = read_results(tmp_path / "results.json", TRUTH)
    assert entries == to_results(videos, (9, 5))
    assert [entry["category_id"] for entry in entries] == [5, 9]


@pytest.mark.parametrize("label", [0, 3])
def test_a_label_of_another_dataset_is_refused(label: int) -> None:
    result = VideoResult(1, 3, (TrackResult(4, label, 0.5, (None, None, None)),))
    with pytest.raises(DataError, match=rf"track 4 of video 1 has label {label}, the dataset has the classes 1..2"):
        to_results([result], TRUTH.category_ids)


@pytest.mark.parametrize("content", ["", "[1,"], ids=["empty", "cut"])
def test_a_file_that_is_not_json_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(f"{path} is not valid JSON")):
        read_results(path, TRUTH)
    with pytest.raises(DataError, match="no such file"):
        read_results(tmp_path / "missing.json", TRUTH)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("\ufeff[]", encoding="utf-8")
    assert read_results(tmp_path / "results.json", TRUTH) == []
