"""What is written of a few frames by hand, format by format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from stmask.checkpoints import ModelCard
from stmask.data.convert import masks as mask_folders
from stmask.data.convert.mask_files import read_mask
from stmask.errors import ConfigError, OutputError
from stmask.inference.drawing import DrawStyle
from stmask.inference.selection import Selection, labels_of
from stmask.inference.sinks import (
    FORMATS,
    SegmentedFrame,
    Setting,
    check_places,
    outputs_at,
    placed,
    require_formats,
)
from stmask.inference.sinks.coco import outlines
from stmask.ops.frames import FramePreprocessor
from stmask.structures import DenseMasks, Instances, TrackedFrame
from stmask.tasks.results import class_vote_of

HEIGHT, WIDTH = 20, 30
NAMES = ("person", "dog")
Object = tuple[int, int, float, tuple[int, int, int, int]]  # track id, label, score, mask x1 y1 x2 y2


def frame(index: int, objects: Sequence[Object], *, names: Sequence[str] = NAMES) -> SegmentedFrame:
    """A frame with rectangles; the network's boxes are a pixel wider on each side, which nothing shows."""
    masks = torch.zeros(len(objects), HEIGHT, WIDTH, dtype=torch.bool)
    boxes = torch.zeros(len(objects), 4)
    for mask, box, (*_, (x1, y1, x2, y2)) in zip(masks, boxes, objects, strict=True):
        mask[y1:y2, x1:x2] = True
        box[:] = torch.tensor([(x1 - 1) / WIDTH, (y1 - 1) / HEIGHT, (x2 + 1) / WIDTH, (y2 + 1) / HEIGHT])
    found = Instances(
        boxes=boxes,
        scores=torch.tensor([score for _, _, score, _ in objects]),
        labels=torch.tensor([label for _, label, _, _ in objects], dtype=torch.int64),
        masks=DenseMasks(masks.float()),
    )
    ids = torch.tensor([track_id for track_id, *_ in objects], dtype=torch.int64)
    tracked = TrackedFrame(index, found, ids, torch.zeros(len(objects), dtype=torch.bool))
    image = np.full((HEIGHT, WIDTH, 3), (10, 20, 30), dtype=np.uint8)
    return SegmentedFrame(index, Fraction(index, 10), image, *tracked.shown_at((HEIGHT, WIDTH)), names)


# a person and a dog that overlap at columns 10 and 11 (the dog is surer), nothing, the dog alone
OBJECTS: list[list[Object]] = [
    [(1, 2, 0.75, (10, 5, 20, 15)), (0, 1, 0.5, (2, 4, 12, 10))],
    [],
    [(1, 2, 0.625, (11, 5, 21, 15))],
]
FRAMES = [frame(t, objects) for t, objects in enumerate(OBJECTS)]


def setting(**changes: Any) -> Setting:
    given = {
        "name": "clip",
        "fps": 10.0,
        "even": True,
        "pixel_aspect": Fraction(1),
        "sound": None,
        "class_names": NAMES,
        "class_vote": "frames",
        "style": DrawStyle(),
        "clock": lambda stage: nullcontext(),
    }
    return Setting(**{**given, **changes})


def write(name: str, folder: Path, frames: Sequence[SegmentedFrame] = FRAMES) -> Path:
    path = outputs_at(folder / ("out.mp4" if name == "video" else "out"), [name])[name]
    form = FORMATS[name]
    with placed(path, lambda place: form.open(place, setting()), folder=form.folder, kept=[]) as sink:
        for one in frames:
            sink.write(one)
    return path


def rectangle(rle: Any) -> tuple[int, int, int, int, int]:
    """x1, y1, x2, y2 and area of a mask."""
    x, y, w, h = (int(value) for value in coco_mask.toBbox(rle))
    return x, y, x + w, y + h, int(coco_mask.area(rle))


def test_jsonl_has_a_line_for_each_frame(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in write("jsonl", tmp_path).read_text().splitlines()]
    assert [(row["frame"], row["time"], row["height"], row["width"]) for row in rows] == [
        (0, 0.0, 20, 30),
        (1, 0.1, 20, 30),
        (2, 0.2, 20, 30),
    ]
    assert [[one["track_id"] for one in row["instances"]] for row in rows] == [[0, 1], [], [1]]
    dog = rows[2]["instances"][0]
    assert {key: value for key, value in dog.items() if key != "segmentation"} == {
        "track_id": 1,
        "category_id": 2,
        "class": "dog",
        "score": 0.625,
        "supplemented": False,
        "box": [11, 5, 21, 15],
    }
    assert rectangle(dog["segmentation"]) == (11, 5, 21, 15, 100)


def test_csv_has_a_row_for_each_instance(tmp_path: Path) -> None:
    with write("csv", tmp_path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = ("frame", "time", "track_id", "class", "score", "x1", "y1", "x2", "y2")
    assert [tuple(row[key] for key in kept) for row in rows] == [
        ("0", "0", "0", "person", "0.500000", "2", "4", "12", "10"),
        ("0", "0", "1", "dog", "0.750000", "10", "5", "20", "15"),
        ("2", "0.2", "1", "dog", "0.625000", "11", "5", "21", "15"),
    ]
    mask = {"size": [int(rows[2]["height"]), int(rows[2]["width"])], "counts": rows[2]["counts"]}
    assert rectangle(mask) == (11, 5, 21, 15, 100)


def test_csv_quotes_what_would_break_a_row(tmp_path: Path) -> None:
    odd = frame(0, [(0, 1, 0.5, (2, 4, 12, 10))], names=('a,"b"\n', "dog"))
    with write("csv", tmp_path, [odd]).open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ['a,"b"\n']


def test_mot_counts_everything_from_one(tmp_path: Path) -> None:
    assert write("mot", tmp_path).read_text().splitlines() == [
        "1,1,3,5,10,6,0.500000,-1,-1,-1",
        "1,2,11,6,10,10,0.750000,-1,-1,-1",
        "3,2,12,6,10,10,0.625000,-1,-1,-1",
    ]


def test_mots_has_no_overlap(tmp_path: Path) -> None:
    rows = [line.split(" ") for line in write("mots", tmp_path).read_text().splitlines()]
    assert [row[:5] for row in rows] == [
        ["0", "1000", "1", "20", "30"],
        ["0", "2001", "2", "20", "30"],
        ["2", "2001", "2", "20", "30"],
    ]
    masks = [{"size": [20, 30], "counts": row[5].encode()} for row in rows]
    assert [rectangle(mask) for mask in masks] == [(2, 4, 12, 10, 50), (10, 5, 20, 15, 100), (11, 5, 21, 15, 100)]
    assert coco_mask.area(coco_mask.merge(masks[:2], intersect=True)) == 0


def test_mots_leaves_out_what_is_wholly_covered_and_refuses_too_many_tracks(tmp_path: Path) -> None:
    covered = frame(0, [(0, 1, 0.4, (3, 3, 6, 6)), (1, 1, 0.9, (2, 2, 8, 8))])
    assert [line.split(" ")[1] for line in write("mots", tmp_path, [covered]).read_text().splitlines()] == ["1001"]
    with pytest.raises(OutputError, match="format=mots holds 1000 tracks.*track 1000"):
        write("mots", tmp_path / "b", [frame(0, [(1000, 1, 0.4, (3, 3, 6, 6))])])


def test_json_is_what_the_metric_reads(tmp_path: Path) -> None:
    tracks = json.loads(write("json", tmp_path).read_text())
    assert [list(track) for track in tracks] == [
        ["video_id", "category_id", "track_id", "score", "segmentations"],
    ] * 2
    assert [(track["track_id"], track["category_id"]) for track in tracks] == [(0, 1), (1, 2)]
    assert [mask is None for mask in tracks[1]["segmentations"]] == [False, True, False]
    assert tracks[1]["score"] == pytest.approx((0.75 + 0.625) / 2)


def test_coco_is_what_its_own_reader_reads(tmp_path: Path) -> None:
    folder = write("coco", tmp_path)
    dataset = COCO(str(folder / "labels.json"))
    assert [image["file_name"] for image in dataset.loadImgs(dataset.getImgIds())] == [
        "000000.jpg",
        "000001.jpg",
        "000002.jpg",
    ]
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["000000.jpg", "000001.jpg", "000002.jpg"]
    assert sorted(path.name for path in folder.iterdir()) == ["data", "labels.json"]
    assert {category["id"]: category["name"] for category in dataset.loadCats(dataset.getCatIds())} == {
        1: "person",
        2: "dog",
    }
    found = dataset.loadAnns(dataset.getAnnIds(imgIds=[1]))
    assert [(one["bbox"], one["area"], one["track_id"]) for one in found] == [
        ([2.0, 4.0, 10.0, 6.0], 60, 0),
        ([10.0, 5.0, 10.0, 10.0], 100, 1),
    ]
    assert dataset.annToMask(found[1]).sum() == 100
    assert dataset.getAnnIds(imgIds=[2]) == []


def disc(radius: int, *, hole: int = 0) -> np.ndarray:
    y, x = np.mgrid[:80, :100]
    distance = (x - 50) ** 2 + (y - 40) ** 2
    return (distance <= radius**2) & (distance >= hole**2)


@pytest.mark.parametrize(
    ("mask", "least"),
    [
        (np.ones((80, 100), dtype=bool), 1.0),
        (np.eye(80, 100, dtype=bool), 0.6),  # a line of single pixels
        (disc(30), 0.985),
        (disc(5), 0.95),
        (disc(30) & (np.arange(100) % 50 != 0), 0.98),  # two parts
        (disc(0), 1.0),  # one pixel
    ],
)
def test_outlines_go_around_the_pixels(mask: np.ndarray, least: float) -> None:
    polygons = outlines(mask)
    assert all(len(polygon) >= 6 for polygon in polygons)
    drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 80, 100))) > 0
    assert (drawn & mask).sum() / (drawn | mask).sum() >= least
    shifted = outlines(mask, (7, 9))
    assert np.allclose(np.array(shifted[0][::2]) - 9, polygons[0][::2])
    assert np.allclose(np.array(shifted[0][1::2]) - 7, polygons[0][1::2])


def test_outlines_fill_holes_and_begin_with_the_largest_part() -> None:
    assert outlines(disc(30, hole=10)) == outlines(disc(30))
    two = disc(30).copy()
    two[0, 0] = True
    assert [len(polygon) > 8 for polygon in outlines(two)] == [True, False]
    assert outlines(np.zeros((4, 5), dtype=bool)) == outlines(np.zeros((0, 0), dtype=bool)) == []


def test_masks_number_tracks_from_one_and_come_back_as_annotations(tmp_path: Path) -> None:
    folder = write("masks", tmp_path)
    numbers = [read_mask(folder / "clip" / f"{t:05d}.png").numbers for t in range(3)]
    assert [np.unique(one).tolist() for one in numbers] == [[0, 1, 2], [0], [0, 2]]
    assert [(one == 2).sum() for one in numbers] == [100, 0, 100]
    assert (numbers[0] == 1).sum() == 50  # the surer dog has the pixels of both
    frames = tmp_path / "frames" / "clip"
    frames.mkdir(parents=True)
    for t in range(3):
        cv2.imwrite(str(frames / f"{t:05d}.jpg"), FRAMES[t].image)
    document = mask_folders.from_masks(tmp_path / "frames", folder, folder / "meta.json")
    classes = {category["id"]: category["name"] for category in document["categories"]}
    assert [classes[track["category_id"]] for track in document["annotations"]] == ["person", "dog"]
    assert [[bool(area) for area in track["areas"]] for track in document["annotations"]] == [
        [True, False, False],
        [True, False, True],
    ]


@pytest.mark.parametrize(("track_id", "depth"), [(253, np.uint8), (254, np.uint16), (60000, np.uint16)])
def test_masks_are_deeper_where_ids_need_it(tmp_path: Path, track_id: int, depth: Any) -> None:
    folder = write("masks", tmp_path, [frame(0, [(track_id, 1, 0.5, (3, 3, 6, 6))])])
    numbers = read_mask(folder / "clip" / "00000.png").numbers
    assert (numbers.dtype, numbers.max()) == (depth, track_id + (1 if track_id < 254 else 2))  # 255 is no object


def test_crops_show_the_object_alone(tmp_path: Path) -> None:
    folder = write("crops", tmp_path)
    with (folder / "crops.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["class"], row["left"], row["top"]) for row in rows] == [
        ("0000/000000.png", "person", "2", "4"),
        ("0001/000000.png", "dog", "10", "5"),
        ("0001/000002.png", "dog", "11", "5"),
    ]
    picture = cv2.imread(str(folder / rows[0]["file"]), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (6, 10, 4)
    assert picture[0, 0].tolist() == [30, 20, 10, 255]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "video"])
def test_a_video_without_objects_is_written_and_written_over(tmp_path: Path, name: str) -> None:
    for frames in ([frame(0, [])], FRAMES, [frame(0, [])]):
        path = outputs_at(tmp_path / "out", [name])[name]
        check_places([], [{name: path}])
        assert write(name, tmp_path, frames) == path
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", FORMATS)
def test_an_instance_of_which_no_pixel_is_seen_is_written_nowhere(tmp_path: Path, name: str) -> None:
    unseen = (7, 1, 0.95, (5, 5, 5, 5))
    more = [frame(t, [unseen, *objects]) for t, objects in enumerate(OBJECTS)]
    without, found = write(name, tmp_path), write(name, tmp_path / "more", more)
    for path in [without, *without.rglob("*")]:
        if path.is_file():
            assert path.read_bytes() == (found / path.relative_to(without)).read_bytes()


# ---------------------------------------------------------------- names and places


@pytest.mark.parametrize(
    ("output", "formats", "names"),
    [
        ("a/out.mp4", ["video", "json"], ["a/out.mp4", "a/out.json"]),
        ("out.MKV", ["video", "jsonl", "mot", "mots"], ["out.MKV", "out.jsonl", "out.mot.txt", "out.mots.txt"]),
        ("v1.2", ["csv", "masks", "crops", "coco"], ["v1.2.csv", "v1.2_masks", "v1.2_crops", "v1.2_coco"]),
        ("tracks.json", ["json", "csv"], ["tracks.json", "tracks.csv"]),
        ("seq.mot.txt", ["mot"], ["seq.mot.txt"]),
        ("out.mp4", ["video", "video"], ["out.mp4"]),
    ],
)
def test_formats_lie_beside_the_output(output: str, formats: list[str], names: list[str]) -> None:
    assert [str(path) for path in outputs_at(Path(output), formats).values()] == names


@pytest.mark.parametrize(
    ("output", "formats", "error", "message"),
    [
        ("out.mp4", ["vidoe"], ConfigError, "there is no 'vidoe'; did you mean video"),
        ("out.mp4", ["COCO"], ConfigError, "there is no 'COCO'; did you mean coco"),
        ("out.mp4", ["xyz"], ConfigError, "there is no 'xyz'; It takes video, json, jsonl, csv"),
        ("out.mp4", [], ConfigError, "nothing to write"),
        ("out.mp4", ["csv"], ConfigError, r"named as a file of format=video, but format is csv: give format=\[csv,vid"),
        ("out.json", ["video"], OutputError, "a video's name ends in .mp4"),
        ("out", ["video"], OutputError, "a video's name ends in .mp4"),
        (".csv", ["csv"], OutputError, "no name before the suffix"),
        (".", ["csv"], OutputError, "no file name"),
    ],
)
def test_formats_and_names_that_do_not_fit(
    output: str, formats: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        outputs_at(Path(output), formats)


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    places = outputs_at(tmp_path / "clip", ["csv"])
    with pytest.raises(OutputError, match=r"clip\.csv is named twice"):
        check_places([tmp_path / "a.mp4", tmp_path / "b.mp4"], [places, places])


@pytest.mark.parametrize("name", ["coco", "masks", "crops"])
def test_folders_of_others_stay_as_they_are(tmp_path: Path, name: str) -> None:
    path = outputs_at(tmp_path / "out", [name])[name]
    path.mkdir()
    check_places([], [{name: path}])  # an empty one is taken
    (path / "letter.txt").touch()
    with pytest.raises(OutputError, match=rf"out_{name} exists already and is not what format={name} writes"):
        check_places([], [{name: path}])
    assert [entry.name for entry in path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("name", ["jsonl", "csv", "mot", "mots"])
def test_files_of_others_stay_as_they_are(tmp_path: Path, name: str) -> None:
    path = outputs_at(tmp_path / "out", [name])[name]
    path.write_text("dear all,\n")
    with pytest.raises(OutputError, match=f"exists already and is not what format={name} writes"):
        check_places([], [{name: path}])


def test_require_formats_keeps_their_order() -> None:
    assert require_formats(["csv", "video", "csv"]) == ("csv", "video")


# ---------------------------------------------------------------- what is written


def test_selection_is_by_score_and_class() -> None:
    tracked = FRAMES[0].tracked  # a dog of 0.75, a person of 0.5
    ids: Callable[[Selection], list[int]] = lambda select: select(tracked).track_ids.tolist()  # noqa: E731
    assert ids(Selection()) == [1, 0]
    assert ids(Selection(min_score=0.5)) == [1, 0]  # the bound belongs to it
    assert ids(Selection(min_score=0.51)) == [1]
    assert ids(Selection(labels=frozenset({1}))) == [0]
    assert ids(Selection(min_score=0.9)) == []
    assert Selection()(frame(1, []).tracked).track_ids.tolist() == []


def test_classes_are_named_as_the_model_names_them() -> None:
    names = ("person", "giant_panda", "dog")
    assert labels_of(["dog", "person"], names) == {1, 3}
    assert labels_of(["Giant Panda"], names) == {2}
    with pytest.raises(ConfigError, match="no class 'panda'; did you mean giant_panda.*knows person, giant_panda, dog"):
        labels_of(["dog", "panda"], names)
    with pytest.raises(ConfigError, match="no class 'zebra'; It knows person"):
        labels_of(["zebra"], names)
    with pytest.raises(ConfigError, match="does not know the names of its classes"):
        labels_of(["dog"], ())


@pytest.mark.parametrize(
    ("task", "vote"),
    [(None, "frames"), ({}, "frames"), ({"class_vote": "scores"}, "scores"), ({"class_vote": 3}, None)],
)
def test_a_track_gets_its_class_as_its_run_said(task: Any, vote: str | None) -> None:
    card = ModelCard(model={}, class_names=(), preprocessor=FramePreprocessor(), data={"task": task})
    if vote is None:
        with pytest.raises(ConfigError, match="checkpoint's data.task: class_vote must be one of frames, sc.*got 3"):
            class_vote_of(card)
    else:
        assert class_vote_of(card) == vote
    assert class_vote_of(None) == "frames"
