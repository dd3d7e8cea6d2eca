"""Files with one fault each: training and the metric must be of one opinion, and name what they refuse.

A row is a change of a sound file and a part of what must be said of it; None where the file must be read.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stmask.cli import main
from stmask.data.check import check_split
from stmask.data.reader import read_index
from stmask.errors import DataError
from stmask.evaluation import GroundTruth
from stmask.evaluation.image_truth import ImageGroundTruth
from stmask.evaluation.results import load_predictions
from stmask.evaluation.submission import write_submission

pytestmark = pytest.mark.usefixtures("each_implementation")

HEIGHT, WIDTH, FRAMES = 8, 10, 3
SQUARE = [[1, 2, 5, 2, 5, 6, 1, 6]]
RUNS = {"size": [HEIGHT, WIDTH], "counts": [10, 4, 4, 4, 4, 4, 4, 4, 42]}
TEXT = {"size": [HEIGHT, WIDTH], "counts": ":4400000V1"}  # the same square, compressed


def document() -> dict[str, Any]:
    videos = [
        {"id": v, "width": WIDTH, "height": HEIGHT, "length": FRAMES, "file_names": [f"v{v}/{t}.png" for t in range(3)]}
        for v in (1, 2)
    ]
    tracks = [
        {
            "id": v,
            "video_id": v,
            "category_id": v,
            "iscrowd": 0,
            "segmentations": copy.deepcopy([SQUARE, RUNS, TEXT]),
            "bboxes": [[1, 2, 4, 4]] * 3,
            "areas": [16] * 3,
        }
        for v in (1, 2)
    ]
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "hand"}]
    return {"categories": categories, "videos": videos, "annotations": tracks}


def results() -> list[dict[str, Any]]:
    masks = [copy.deepcopy(TEXT), None, copy.deepcopy(TEXT)]
    return [{"video_id": v, "category_id": v, "score": 0.5, "segmentations": copy.deepcopy(masks)} for v in (1, 2)]


Change = Callable[[Any], Any]


def put(*path: Any) -> Change:
    """Sets the value at a place of a document: put("videos", 0, "id", 7)."""
    *keys, last, value = path

    def change(content: Any) -> None:
        for key in keys:
            content = content[key]
        content[last] = value

    return change


def drop(*path: Any) -> Change:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


def mask(value: Any) -> Change:
    return put("annotations", 1, "segmentations", 1, value)


def track(key: str, value: Any) -> Change:
    return put("annotations", 1, key, value)


def video(key: str, value: Any) -> Change:
    return put("videos", 1, key, value)


def category(key: str, value: Any) -> Change:
    return put("categories", 1, key, value)


def runs(*counts: Any, size: Any = (HEIGHT, WIDTH)) -> Change:
    return mask({"size": list(size), "counts": list(counts)})


def text(counts: Any, size: Any = (HEIGHT, WIDTH)) -> Change:
    return mask({"size": list(size), "counts": counts})


def renamed(**values: Any) -> Change:
    """Gives the second video or category, and what refers to it, another id."""
    (key, value), *_ = values.items()
    field = {"videos": "video_id", "categories": "category_id"}[key]

    def change(content: Any) -> None:
        content[key][1]["id"] = value
        content["annotations"][1][field] = value

    return change


def everywhere(convert: Callable[[int], Any]) -> Change:
    """Writes every id, size and length in another way."""

    def change(content: Any) -> None:
        for entry in [*content["videos"], *content["annotations"], *content["categories"]]:
            for key in entry.keys() & {"id", "video_id", "category_id", "width", "height", "length"}:
                entry[key] = convert(entry[key])

    return change


IDENTITY = "must be an integer of at least 0, got"
PAIRS = "at least three x, y pairs, in a list of polygons: [[x, y, x, y, x, y, ...], ...]; "

ANNOTATIONS: dict[str, tuple[Change, str | None]] = {
    "nothing wrong": (lambda d: None, None),
    # masks
    "null": (mask(None), None),
    "[]": (mask([]), None),
    "{}": (mask({}), None),
    "[[]]": (mask([[]]), None),
    "empty text": (mask(""), "expected null, run lengths or polygons, got ''"),
    "false": (mask(False), "expected null, run lengths or polygons, got false"),
    "a number": (mask(7), "expected null, run lengths or polygons, got 7"),
    "text": (mask("abc"), "expected null, run lengths or polygons, got 'abc'"),
    "NaN": (mask([[1, 2, 5, math.nan, 5, 6]]), "holds nan, which is not a finite number"),
    "infinity": (mask([[1, 2, 5, math.inf, 5, 6]]), "holds inf, which is not a finite number"),
    "1e300": (mask([[1, 2, 5, 1e300, 5, 6]]), "far outside its frame of 10 x 8 pixels"),
    "2.1e8": (mask([[-164.0, -221.0, 2.1e8, 3.5e8, 226.0, 236.0, 272.0, 384.0]]), "far outside its frame"),
    "2.1e9": (mask([[1, 2, 5, -2.1e9, 5, 6]]), "far outside its frame"),
    "1e5": (mask([[1, 2, 1e5, 2, 5, 6]]), "far outside its frame"),
    "10**400": (mask([[1, 2, 10**400, 2, 5, 6]]), "which is not a finite number"),
    "a little outside": (mask([[-3.5, -2, 15, -2, 15, 10, -3.5, 10]]), None),
    "a long outline": (mask([[-100, 0, 100, 1] * 5000]), "too long for a frame of 10 x 8"),
    "many points": (mask([[1, 2, 5, 2, 5, 6] * 1000]), None),
    "many polygons": (mask([[1, 2, 5, 2, 5, 6]] * 2000), None),
    "true as a coordinate": (mask([[1, 2, 5, 2, 5, True]]), "holds true, which is not a number"),
    "text as a coordinate": (mask([[1, 2, 5, 2, 5, "6"]]), "holds '6', which is not a number"),
    "null as a coordinate": (mask([[1, 2, 5, 2, 5, None]]), "holds null, which is not a number"),
    "a flat list": (mask([1, 2, 5, 2, 5, 6]), PAIRS + "this is one flat list: write [[x, y, ...]]"),
    "pairs": (mask([[1, 2], [5, 2], [5, 6]]), PAIRS + "these are pairs [x, y]"),
    "pairs in a list": (mask([[[1, 2], [5, 2], [5, 6]]]), PAIRS + "these are pairs [x, y]"),
    "a sliver": (mask([*SQUARE, [4, 4, 4, 5]]), PAIRS + "polygon 1 has 2 points"),
    "an empty polygon": (mask([*SQUARE, []]), PAIRS + "polygon 1 has 0 points"),
    "null as polygon": (mask([*SQUARE, None]), PAIRS + "polygon 1 is null"),
    "an odd count": (mask([[1, 2, 5, 2, 5, 6, 1]]), PAIRS + "polygon 0 has 7 numbers"),
    "no counts": (mask({"size": [HEIGHT, WIDTH]}), "run lengths need the keys 'size'"),
    "no size": (mask({"counts": [80]}), "run lengths need the keys 'size'"),
    "no runs": (runs(), "run lengths that fill the frame, it is empty"),
    "background": (runs(80), None),
    "runs short of the frame": (runs(10, 69), "the run lengths cover 79 of 80 pixels"),
    "runs over the frame": (runs(10, 71), "the run lengths cover 81 of 80 pixels"),
    "10**9": (runs(10**9, 10**9), "the run lengths cover 2000000000 of 80 pixels"),
    "2**32": (runs(2**32 + 10, 70), "the run lengths cover 4294967376 of 80 pixels"),
    "10**400 runs": (runs(10**400, 70), "of 80 pixels"),
    "a negative run": (runs(90, -10), "integers of at least 0: it holds -10"),
    "whole floats": (runs(10.0, 4.0, 66.0), None),
    "half a pixel": (runs(10.5, 69.5), "integers of at least 0: it holds 10.5"),
    "true as a run": (runs(79, True), "integers of at least 0: it holds true"),
    "text as a run": (runs("10", 70), "integers of at least 0: it holds '10'"),
    "a size turned": (runs(10, 70, size=(WIDTH, HEIGHT)), "[10, 8]"),
    "a size of floats": (text(TEXT["counts"], (8.0, 10.0)), None),
    "a size of text": (text(TEXT["counts"], ("8", "10")), "'size' must be [height, width], two integers"),
    "a size of one": (text(TEXT["counts"], (8,)), "'size' must be [height, width], two integers"),
    "a size of three": (text(TEXT["counts"], (8, 10, 1)), "'size' must be [height, width], two integers"),
    "a size of 0": (text("0", (0, 0)), "'size' must be [height, width], two integers"),
    "a huge size": (runs(10**30, size=(10**15, 10**15)), "'size' must be [height, width]"),
    "a huge size of text": (text("0", (10**30, 10)), "'size' must be [height, width]"),
    "no text": (text(""), "counts"),
    "a null in counts": (text(None), "'counts' must be a string or a list of run lengths, got null"),
    "another script": (text(":4400000V1é"), "counts"),
    "text cut short": (text(":4400000V"), "segmentations[1]: "),
    "text of larger masks": (text(":4400000V3"), "segmentations[1]: "),
    "garbage": (text("abc"), "segmentations[1]: "),
    "blanks": (text("  "), "segmentations[1]: "),
    "endless": (text("o" * 100), "segmentations[1]: "),
    "a negative run in text": (text("`21@NW2"), "segmentations[1]: "),
    # annotations
    "no annotation": (put("annotations", 1, None), "annotations[1] must be an object, got null"),
    "an annotation as list": (put("annotations", 1, []), "annotations[1] must be an object, got list"),
    "annotations as object": (put("annotations", {}), "must be a list"),
    "annotations as text": (put("annotations", "[]"), "must be a list"),
    "no annotations": (put("annotations", []), None),
    "unlabelled": (put("annotations", None), None),
    "without annotations": (drop("annotations"), None),
    "no id": (drop("annotations", 1, "id"), "annotations[1] needs 'id'"),
    "no video_id": (drop("annotations", 1, "video_id"), "it has no 'video_id'"),
    "no category_id": (drop("annotations", 1, "category_id"), "it has no 'category_id'"),
    "no segmentations": (drop("annotations", 1, "segmentations"), "it has no 'segmentations'"),
    "null as id": (track("id", None), f"'id' {IDENTITY} null"),
    "text as id": (track("id", "2"), f"'id' {IDENTITY} '2'"),
    "true as id": (track("id", True), f"'id' {IDENTITY} true"),
    "a negative id": (track("id", -1), f"'id' {IDENTITY} -1"),
    "half an id": (track("id", 1.5), f"'id' {IDENTITY} 1.5"),
    "NaN as id": (track("id", math.nan), f"'id' {IDENTITY} nan"),
    "an id twice": (track("id", 1), "1"),
    "an id beyond 64 bits": (track("id", 2**63), "'id' must be an integer of at most"),
    "the largest id": (track("id", 2**63 - 1), None),
    "text as category_id": (track("category_id", "1"), f"'category_id' {IDENTITY} '1'"),
    "Arabic category_id": (track("category_id", "\u0661"), f"'category_id' {IDENTITY} '\u0661'"),
    "half a category": (track("category_id", 1.5), f"'category_id' {IDENTITY} 1.5"),
    "a whole category": (track("category_id", 1.0), None),
    "unknown category": (track("category_id", 9), "9"),
    "text as video_id": (track("video_id", "1"), f"'video_id' {IDENTITY} '1'"),
    "a whole video_id": (track("video_id", 1.0), None),
    "unknown video": (track("video_id", 9), "9"),
    "a list as video_id": (track("video_id", [1]), f"'video_id' {IDENTITY} [1]"),
    "floats everywhere": (everywhere(float), None),
    "text everywhere": (everywhere(str), "must be an integer of at least"),
    "true as crowd": (track("iscrowd", True), None),
    "1.0 as crowd": (track("iscrowd", 1.0), None),
    "null as crowd": (track("iscrowd", None), None),
    "no crowd": (drop("annotations", 1, "iscrowd"), None),
    "text as crowd": (track("iscrowd", "0"), "'iscrowd' must be 0 or 1, got '0'"),
    "2 as crowd": (track("iscrowd", 2), "'iscrowd' must be 0 or 1, got 2"),
    "a list as crowd": (track("iscrowd", []), "'iscrowd' must be 0 or 1, got []"),
    "too few masks": (put("annotations", 1, "segmentations", [None]), "entries"),
    "too many masks": (lambda d: d["annotations"][1]["segmentations"].append(None), "entries"),
    "masks as null": (track("segmentations", None), "must be a list with one entry per frame, got null"),
    "masks as text": (track("segmentations", "abc"), "must be a list with one entry per frame, got str"),
    "no areas": (drop("annotations", 1, "areas"), None),
    "null areas": (track("areas", [None, 3, 4.5]), None),
    "few areas": (track("areas", [3]), "'areas' has 1 entries, 'segmentations' has 3"),
    "text as area": (track("areas", ["3", 3, 3]), "'areas' must hold numbers or null, got '3'"),
    "a huge area": (track("areas", [10**400, 3, 3]), "'areas' must hold numbers or null"),
    "NaN as area": (track("areas", [math.nan, 3, 3]), "'areas' must hold numbers or null, got nan"),
    "areas as number": (track("areas", 48), "'areas' must be a list with one entry per frame, got int"),
    "occlusion": (track("occlusion", ["no_occlusion", None, "severe_occlusion"]), None),
    "a list as occlusion": (track("occlusion", [[], None, None]), "'occlusion' must hold text or null, got []"),
    # videos
    "no video": (put("videos", 1, None), "videos[1] must be an object, got null"),
    "videos as null": (put("videos", None), "must be a list"),
    "videos as object": (put("videos", {}), "must be a list"),
    "without videos": (drop("videos"), "videos"),
    "no video's id": (drop("videos", 1, "id"), "it has no 'id'"),
    "text as video's id": (renamed(videos="2"), f"'id' {IDENTITY} '2'"),
    "a whole video's id": (renamed(videos=2.0), None),
    "a video twice": (lambda d: d["videos"].append(d["videos"][0]), "1"),
    "no width": (drop("videos", 1, "width"), "it has no 'width'"),
    "no height": (drop("videos", 1, "height"), "it has no 'height'"),
    "null as height": (video("height", None), "'height' must be an integer of at least 1, got null"),
    "a height of 0": (video("height", 0), "'height' must be an integer of at least 1, got 0"),
    "a whole height": (video("height", 8.0), None),
    "text as width": (video("width", "10"), "'width' must be an integer of at least 1, got '10'"),
    "a huge width": (video("width", 10**9), "'width' must be an integer of at most 1048576"),
    "a huge frame": (lambda d: d["videos"][1].update(width=10**6, height=10**6), "more pixels than any readable image"),
    "another length": (video("length", 4), "'length' is 4, but it has 3 'file_names'"),
    "text as length": (video("length", "3"), "'length' must be an integer of at least 1, got '3'"),
    "a whole length": (video("length", 3.0), None),
    "null as length": (video("length", None), None),
    "no length": (drop("videos", 1, "length"), None),
    "no names": (video("file_names", []), "'file_names' must be a list of at least one file name"),
    "names as null": (video("file_names", None), "'file_names' must be a list of at least one file name, got null"),
    "names as text": (video("file_names", "abc"), "'file_names' must be a list of at least one file name"),
    "a number as name": (video("file_names", ["a", 5, "b"]), "'file_names': 5 is not text"),
    "an empty name": (video("file_names", ["a", "", "b"]), "'file_names': '' is not text"),
    "half a surrogate": (video("file_names", ["a", "\ud83d.jpg", "b"]), "holds half of a surrogate pair"),
    "NUL in a name": (video("file_names", ["a", "b\0.jpg", "b"]), "holds a NUL character"),
    "a line break in a name": (video("file_names", ["a", "b\n.jpg", "b"]), "holds a control character"),
    "an absolute name": (video("file_names", ["a", "/etc/passwd", "b"]), "is an absolute path"),
    "a way out": (video("file_names", ["a", "v/../../b.jpg", "b"]), "leaves the folder of frames"),
    "two dots in a name": (video("file_names", ["a", "b..jpg", "..c"]), None),
    "a long name": (video("file_names", ["a", "b" * 300, "c"]), "is too long"),
    "a name of another script": (video("file_names", ["é/人.jpg", "b c.jpg", "~.jpg"]), None),
    # categories
    "no category": (put("categories", 1, None), "categories[1] must be an object, got null"),
    "categories as null": (put("categories", None), "must be a list"),
    "without categories": (drop("categories"), "categories"),
    "no category's id": (drop("categories", 1, "id"), "it has no 'id'"),
    "text as category's id": (renamed(categories="2"), f"'id' {IDENTITY} '2'"),
    "true as category's id": (renamed(categories=True), f"'id' {IDENTITY} true"),
    "a category twice": (lambda d: d["categories"].append({"id": 1, "name": "x"}), "1"),
    "no name of a category": (drop("categories", 1, "name"), "it has no 'name'"),
    "null as class": (category("name", None), "'name' must be text, got null"),
    "an empty class": (category("name", ""), None),
    "a number as class": (category("name", 5), "'name' must be text, got 5"),
    "half a surrogate as class": (category("name", "\udc00"), "holds half of a surrogate pair"),
    "a line break in a class": (category("name", "a\nb"), "holds a control character"),
    "a class of another script": (category("name", "tasse à café"), None),
}  # fmt: skip

SOUND = json.dumps(document(), ensure_ascii=False)
TEXTS: dict[str, tuple[bytes, str | None]] = {
    "a byte order mark": (SOUND.encode("utf-8-sig"), None),
    "UTF-16": (SOUND.encode("utf-16"), "is saved as UTF-16: save it as UTF-8"),
    "UTF-16, big": (SOUND.encode("utf-16-be"), "is saved as UTF-16: save it as UTF-8"),
    "UTF-32": (SOUND.encode("utf-32"), "is saved as UTF-32: save it as UTF-8"),
    "latin-1": (SOUND.replace("cup", "caf\u00e9").encode("latin-1"), "is not UTF-8 (it holds the byte 0xe9)"),
    "gzip": (gzip.compress(SOUND.encode()), "is a gzip file"),
    "empty": (b"", "it is empty"),
    "cut": (SOUND.encode()[:-40], "is not valid JSON"),
    "twice": (SOUND.encode() * 2, "is not valid JSON"),
    "a number at the end": (SOUND.encode() + b" 1", "is not valid JSON"),
    "a list": (f"[{SOUND}]".encode(), ""),
    "null": (b"null", ""),
    "brackets": (b'{"info": ' + b"[" * 100_000, "is nested too deeply to be read"),
    "brackets in a mask": (b'{"annotations": [{"segmentations": ' + b"[" * 100_000, "is nested too deeply"),
    "digits": (SOUND.replace('"id": 1', '"id": 1' + "0" * 5000, 1).encode(), "holds an integer of thousands of digits"),
    "annotations twice": (SOUND.encode()[:-1] + b', "annotations": []}', "has the key 'annotations' twice"),
    "an id's key twice": (SOUND.replace('"id": 1', '"id": 1, "id": 3', 1).encode(), "has the key 'id' twice"),
    "lines": (json.dumps(document(), indent=2).replace("\n", "\r\n").encode(), None),
}


def entry(key: str, value: Any) -> Change:
    return put(1, key, value)


def result_mask(value: Any) -> Change:
    return put(1, "segmentations", 2, value)


RESULTS: dict[str, tuple[Change, str | None]] = {
    "nothing wrong": (lambda r: None, None),
    "no entries": (lambda r: r.clear(), None),
    "an object": (lambda r: {"results": r}, "results must be a list of tracks, got dict"),
    "null": (put(1, None), "entry 1: expected an object, got null"),
    "a list": (put(1, []), "entry 1: expected an object, got list"),
    "no video": (drop(1, "video_id"), "entry 1: has no video_id"),
    "no category": (drop(1, "category_id"), "entry 1: has no category_id"),
    "no score": (drop(1, "score"), "entry 1: has no score"),
    "no masks": (drop(1, "segmentations"), "entry 1: has no segmentations"),
    "an unknown video": (entry("video_id", 9), "entry 1: video_id 9 is not a video"),
    "text as video": (entry("video_id", "1"), "entry 1: video_id '1' is not a video"),
    "true as video": (entry("video_id", True), "entry 1: video_id true is not a video"),
    "null as video": (entry("video_id", None), "entry 1: video_id null is not a video"),
    "a list as video": (entry("video_id", [1]), "entry 1: video_id [1] is not a video"),
    "half a video": (entry("video_id", 1.5), "entry 1: video_id 1.5 is not a video"),
    "a video beyond 64 bits": (entry("video_id", 2**70), "entry 1: video_id 118"),
    "a whole video": (entry("video_id", 1.0), None),
    "an unknown category": (
        entry("category_id", 9),
        "category_id 9 is not a category of the ground truth (use the dataset's own ids: 1 cup, 2 hand); 1 of the 2 "
        "categories in the results are unknown: are they from another dataset?",
    ),
    "counted from 0": (lambda r: [e.update(category_id=e["category_id"] - 1) for e in r] and None, "counted from 0"),
    "text as category": (entry("category_id", "1"), "entry 1: category_id '1' is not a category"),
    "true as category": (entry("category_id", True), "entry 1: category_id true is not a category"),
    "a whole category": (entry("category_id", 2.0), None),
    "null as score": (entry("score", None), "entry 1: score must be a finite number, got null"),
    "text as score": (entry("score", "0.5"), "entry 1: score must be a finite number, got '0.5'"),
    "true as score": (entry("score", True), "entry 1: score must be a finite number, got true"),
    "NaN as score": (entry("score", math.nan), "entry 1: score must be a finite number, got nan"),
    "an infinite score": (entry("score", math.inf), "entry 1: score must be a finite number, got inf"),
    "10**400": (entry("score", 10**400), "entry 1: score must be a finite number, got 1000"),
    "an integer as score": (entry("score", 1), None),
    "masks as null": (entry("segmentations", None), "entry 1: segmentations must be a list"),
    "too few masks": (entry("segmentations", [None]), "entry 1: has 1 segmentations, video 2 has 3 frames"),
    "no masks at all": (entry("segmentations", [None] * 3), None),
    "an empty object": (result_mask({}), "segmentations[2] must be null or an RLE"),
    "an empty list": (result_mask([]), "segmentations[2] must be null or an RLE"),
    "a polygon": (result_mask(SQUARE), "segmentations[2] must be null or an RLE"),
    "text": (result_mask("abc"), "segmentations[2] must be null or an RLE"),
    "a list of runs": (result_mask(RUNS), "counts must be the str of a compressed RLE, got list"),
    "null as counts": (result_mask({**TEXT, "counts": None}), "counts must be the str of a compressed RLE, got null"),
    "no text": (result_mask({**TEXT, "counts": ""}), "counts are not the run lengths of a mask of 8 x 10 pixels"),
    "cut": (result_mask({**TEXT, "counts": ":4400000V"}), "counts are not the run lengths"),
    "garbage": (result_mask({**TEXT, "counts": "\ud83d"}), "counts are not the run lengths"),
    "endless": (result_mask({**TEXT, "counts": "o" * 1000}), "counts are not the run lengths"),
    "a size turned": (result_mask({**TEXT, "size": [10, 8]}), "segmentations[2] has size [10, 8], video 2 has [8, 10]"),
    "a size of text": (result_mask({**TEXT, "size": ["8", "10"]}), "segmentations[2] has size ['8', '10']"),
    "a size of floats": (result_mask({**TEXT, "size": [8.0, 10.0]}), None),
    "a size of null": (result_mask({**TEXT, "size": None}), "segmentations[2] has size null"),
    "a huge size": (result_mask({**TEXT, "size": [2**70, 10]}), "segmentations[2] has size [118"),
}  # fmt: skip


def images() -> dict[str, Any]:
    shapes = [SQUARE, RUNS, TEXT]
    return {
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "hand"}],
        "images": [{"id": i, "width": WIDTH, "height": HEIGHT, "file_name": f"{i}.png"} for i in (1, 2, 3)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "segmentation": copy.deepcopy(shapes[i - 1]), "iscrowd": 0}
            for i in (1, 2, 3)
        ],
    }


IMAGES: dict[str, tuple[Change, str | None]] = {
    "nothing wrong": (lambda d: None, None),
    "no mask": (drop("annotations", 1, "segmentation"), "needs 'id', 'image_id', 'category_id' and 'segmentation'"),
    "null": (track("segmentation", None), None),
    "[]": (track("segmentation", []), None),
    "empty text": (track("segmentation", ""), "expected null, run lengths or polygons, got ''"),
    "NaN": (track("segmentation", [[1, 2, 5, math.nan, 5, 6]]), "which is not a finite number"),
    "2.1e9": (track("segmentation", [[1, 2, 2.1e9, 2, 5, 6]]), "far outside its frame"),
    "a sliver": (track("segmentation", [[1, 2, 5, 6]]), PAIRS),
    "garbage": (track("segmentation", {**TEXT, "counts": "abc"}), "annotation"),
    "a size turned": (track("segmentation", {**TEXT, "size": [10, 8]}), "[10, 8]"),
    "unknown image": (track("image_id", 9), "9"),
    "text as image": (track("image_id", "1"), f"'image_id' {IDENTITY} '1'"),
    "unknown category": (track("category_id", 9), "9"),
    "text as crowd": (track("iscrowd", "0"), "'iscrowd' must be 0 or 1, got '0'"),
    "text in a box": (track("bbox", [1, 2, "3", 4]), "'bbox' must be [x, y, width, height] or null"),
    "NaN as area": (track("area", math.nan), "'areas' must hold numbers or null, got nan"),
    "an id twice": (track("id", 1), "1"),
    "an image twice": (lambda d: d["images"].append(d["images"][0]), "1"),
    "no image": (put("images", 1, None), "images[1] must be an object, got null"),
    "images as null": (put("images", None), "must be a list"),
    "no name of a file": (drop("images", 1, "file_name"), "images[1] needs 'file_name'"),
    "a way out": (put("images", 1, "file_name", "../a.png"), "leaves the folder of frames"),
    "no height": (drop("images", 1, "height"), "it has no 'height'"),
    "no category": (put("categories", 1, None), "categories[1] must be an object, got null"),
}


def refusal(read: Callable[[], object]) -> str | None:
    """What is said of a file that is refused; one line of it."""
    try:
        read()
    except DataError as error:
        said = str(error)
    else:
        return None
    assert "\n" not in said
    return said


def problems(path: Path) -> list[str]:
    """What `stmask data check` says of the file; there are no frames."""
    of_frames = ("a missing frame", "no folder of frames", "nothing to learn from")
    report = check_split(path, root=path.parent, split="train", frames=path.parent / "frames", threads=1)
    return [problem.first for problem in report.problems.values() if problem.fatal and problem.kind not in of_frames]


def agree(path: Path, expected: str | None, truth: Callable[[Path], object] = GroundTruth.load) -> None:
    said = [refusal(lambda: read_index(path)), refusal(lambda: truth(path))]
    if expected is None:
        assert said == [None, None]
        assert problems(path) == []
        return
    for message in said:
        assert message is not None
        assert str(path) in message
        assert expected in message
    assert any(expected in problem for problem in problems(path))


@pytest.mark.parametrize(("change", "expected"), ANNOTATIONS.values(), ids=ANNOTATIONS.keys())
def test_training_and_metric_agree_on_every_fault(tmp_path: Path, change: Change, expected: str | None) -> None:
    content = document()
    change(content)
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content))
    agree(path, expected)


@pytest.mark.parametrize(("content", "expected"), TEXTS.values(), ids=TEXTS.keys())
def test_training_and_metric_agree_on_every_text(tmp_path: Path, content: bytes, expected: str | None) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(content)
    agree(path, expected)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    agree(tmp_path, "cannot read ")
    agree(tmp_path / "train.json", "no such file: ")


@pytest.mark.parametrize(("change", "expected"), RESULTS.values(), ids=RESULTS.keys())
def test_metric_and_submission_name_every_fault_of_results(
    tmp_path: Path, change: Change, expected: str | None
) -> None:
    content = results()
    content = change(content) or content
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    truth = GroundTruth.from_dict(document())
    for read in (lambda: load_predictions(path, truth), lambda: write_submission(path, tmp_path / "out.zip", truth)):
        message = refusal(read)
        if expected is None:
            assert message is None
        else:
            assert message is not None
            assert message.startswith(str(path))
            assert expected in message
            assert not (tmp_path / "out.zip").exists()


@pytest.mark.parametrize(("change", "expected"), IMAGES.values(), ids=IMAGES.keys())
def test_training_and_metric_agree_on_images(tmp_path: Path, change: Change, expected: str | None) -> None:
    content = images()
    change(content)
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content))
    agree(path, expected, ImageGroundTruth.load)


COMMANDS = ("2.1e8", "NaN", "a flat list", "garbage", "text as id", "no category", "a way out")


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_end_in_one_line(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = document()
    change, expected = ANNOTATIONS[name]
    change(content)
    path, found = tmp_path / "train.json", tmp_path / "results.json"
    path.write_text(json.dumps(content))
    found.write_text(json.dumps(results()))
    for arguments in (["metric", str(path), str(found)], ["data", "split", str(path)]):
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert str(expected) in printed.err
    assert main(["data", "check", str(path)]) == 1
    assert str(expected) in capsys.readouterr().out


def test_nothing_to_score_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, found = tmp_path / "valid.json", tmp_path / "results.json"
    found.write_text(json.dumps(results()))
    crowds = [track | {"iscrowd": 1} for track in document()["annotations"]]
    for labels in (None, [], crowds):
        path.write_text(json.dumps(document() | {"annotations": labels}))
        assert main(["metric", str(path), str(found)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert re.match(r".*valid\.json has no annotation.*nothing can be scored", printed.err)


def test_no_output_is_written_over_what_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, found = tmp_path / "valid.json", tmp_path / "results.json"
    path.write_text(json.dumps(document()))
    found.write_text(json.dumps(results()))
    for arguments in (
        ["metric", str(path), str(found), "--json", str(path)],
        ["submit", str(found), "--output", str(found)],
    ):
        assert main(arguments) == 2
        assert "is also an input and would be overwritten" in capsys.readouterr().err
    assert json.loads(path.read_text()) == document()


def test_results_that_can_be_scored_but_look_unintended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, found = tmp_path / "valid.json", tmp_path / "results.json"
    path.write_text(json.dumps(document()))
    tracks = [entry | {"segmentations": [TEXT] * 3} for entry in results()]
    expected = {
        "": tracks,
        "no mask in any of its 0 entries": [],
        "no mask in any of its 2 entries": [t | {"segmentations": [None] * 3} for t in tracks],
        "entry 2 repeats entry 0": [*tracks, tracks[0]],
        "entry 2 repeats entry 0 and 1 more": [*tracks, *tracks],
        "AP50 is 0.0, and 100.0 when classes are left out": [t | {"category_id": 3 - t["category_id"]} for t in tracks],
    }
    for hint, entries in expected.items():
        found.write_text(json.dumps(entries))
        assert main(["metric", str(path), str(found)]) == 0
        assert capsys.readouterr().err.startswith(hint and f"warning: {found}: {hint}")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({}, ""),
        ({"segmentations": [None] * 3}, "1 of 2 annotations have no mask in any frame and count as missed"),
        ({"areas": [1, 1, 1]}, "1 of 2 annotations state 'areas' that disagree with their masks"),
        ("hand", "several categories share a name, and are scored as separate classes: hand"),
    ],
)
def test_annotations_that_can_be_scored_but_look_unintended(tmp_path, capsys, change, hint):
    made = document()
    if isinstance(change, str):
        for category in made["categories"]:
            category["name"] = change
    else:
        made["annotations"][0] |= change
    path, found = tmp_path / "valid.json", tmp_path / "results.json"
    path.write_text(json.dumps(made))
    found.write_text(json.dumps([entry | {"segmentations": [TEXT] * 3} for entry in results()]))
    assert main(["metric", str(path), str(found)]) == 0
    assert capsys.readouterr().err.startswith(hint and f"warning: {path}: {hint}")


def test_a_submission_replaces_a_submission_and_nothing_else(tmp_path, capsys):
    found, path = tmp_path / "results.json", tmp_path / "train.json"
    found.write_text(json.dumps(results()))
    path.write_text(json.dumps(document()))
    for _ in range(2):
        assert main(["submit", str(found)]) == 0
    assert main(["submit", str(found), "--output", str(path)]) == 2
    assert "train.json exists already and is not a submission" in capsys.readouterr().err
    assert json.loads(path.read_text()) == document()
