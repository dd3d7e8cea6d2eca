import io
import json

import pytest
from data.makers import HEIGHT, WIDTH, annotation, compressed, contents, rectangle, write_dataset, write_frames
from PIL import Image

from stmask.commands.data_check import main
from stmask.data.check import check_split


def check(root, split="train", **how):
    return check_split(root / f"{split}.json", root=root, split=split, **how)


def found(report):
    return {problem.kind: problem.count for problem in report.problems.values()}


def test_a_good_dataset(tmp_path, capsys):
    write_dataset(tmp_path)
    report = check(tmp_path, read_frames=True)
    assert found(report) == {}
    assert report.trainable
    assert (report.videos, report.frame_count, report.tracks, report.masks) == (3, 18, 6, 33)
    assert main([str(tmp_path), "--frames"]) == 0
    assert "can be trained on; all frames were read" in capsys.readouterr().out


def test_all_problems_at_once_with_counts_and_the_first_of_each(tmp_path, capsys):
    document = contents(videos=4)
    annotations = document["annotations"]
    annotations[0]["segmentations"] = annotations[0]["segmentations"][:2]
    annotations[2]["segmentations"] = annotations[2]["segmentations"][:3]
    annotations[3]["category_id"] = 99
    annotations[4]["video_id"] = 99
    annotations[5]["id"] = 10
    del annotations[6]["segmentations"]
    annotations[7]["segmentations"][3] = {"size": [48, 64], "counts": "abc"}
    annotations[7]["segmentations"][4] = {"size": [48, 64], "counts": [3072, 0]}
    whole = [compressed(rectangle(10, 10, 10, 5))] * 6
    annotations.append(annotation(91, 1, 7, whole, bboxes=[[10, 10, 10, 5]] * 5 + [[15, 10, 10, 5]]))
    annotations.append(annotation(92, 1, 7, whole, bboxes=[[10, 10, 10, 5]]))
    annotations.append(annotation(93, 1, 7, [None] * 6))
    annotations.append(annotation(94, 1, 7, [{"size": [40, 64], "counts": "abc"}] * 6))
    write_dataset(tmp_path, document)
    frames = tmp_path / "train/JPEGImages/v2"
    (frames / "00000.jpg").unlink()
    (frames / "00001.jpg").unlink()
    (frames / "00002.jpg").write_bytes((frames / "00003.jpg").read_bytes()[:-30])

    report = check(tmp_path, read_frames=True)
    assert found(report) == {
        "a list of the wrong length": 2,
        "an unknown category": 1,
        "an annotation of an unknown video": 1,
        "an annotation id twice": 1,
        "an annotation with a key missing": 1,
        "a mask that does not fit its frame": 1,
        "a mask without a pixel": 1,
        "a box that disagrees with its mask": 1,
        "boxes or areas of the wrong length": 1,
        "an annotation twice": 1,
        "a track without a mask": 1,
        "masks of another size than their video": 1,
        "a missing frame": 2,
        "a frame that cannot be used": 1,
    }
    assert not report.trainable
    assert "annotation 10: 'segmentations' has 2 entries" in report.problems["a list of the wrong length"].first
    assert report.problems["a missing frame"].first.endswith("v2/00000.jpg")
    assert "off by 5 pixels" in report.problems["a box that disagrees with its mask"].first
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "error: a missing frame: 2, first:" in printed
    assert "warning: a track without a mask: 1, first:" in printed
    assert "cannot be trained on" in printed


def test_warnings_alone_do_not_stop_a_training(tmp_path):
    document = contents()
    document["annotations"].append(annotation(93, 1, 7, [None] * 6))
    write_dataset(tmp_path, document)
    report = check(tmp_path)
    assert found(report) == {"a track without a mask": 1}
    assert report.trainable


def test_unlabelled_splits_are_fine(tmp_path, capsys):
    document = contents() | {"annotations": None}
    write_dataset(tmp_path, document, split="test")
    assert main([str(tmp_path)]) == 0
    assert "unlabelled: can be predicted on" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{", "[]", '{"categories": []}'])
def test_files_of_another_kind(tmp_path, text):
    (tmp_path / "train.json").write_text(text)
    report = check(tmp_path)
    assert not report.trainable
    assert report.problems
    assert main([str(tmp_path / "train.json")]) == 1


def test_frames_elsewhere(tmp_path):
    path = write_dataset(tmp_path / "a")
    lonely = tmp_path / "b/my.json"
    lonely.parent.mkdir()
    lonely.write_text(path.read_text())
    assert main([str(lonely)]) == 1
    assert main([str(lonely), "--frame-folder", str(tmp_path / "a/train/JPEGImages")]) == 0


def test_the_video_table_itself(tmp_path):
    document = contents()
    document["videos"].append(document["videos"][0])
    document["videos"].append({"id": 7})
    write_dataset(tmp_path, contents())
    (tmp_path / "train.json").write_text(json.dumps(document))
    assert found(check(tmp_path)) == {"a video id twice": 1, "a video with a key missing": 1}


def boxed():
    """One video of three frames with an object of each category, boxes and areas as they should be."""
    document = contents(videos=1, frames=3)
    for entry, boxes in zip(
        document["annotations"], ([[4 + 5 * t, 8, 12, 12] for t in range(3)], [[20, 30, 30, 6]] * 3)
    ):
        present = [mask is not None for mask in entry["segmentations"]]
        entry["bboxes"] = [box if seen else None for box, seen in zip(boxes, present)]
        entry["areas"] = [box[2] * box[3] if seen else None for box, seen in zip(boxes, present)]
    return document


def again(document, **changes):
    document["annotations"].append(document["annotations"][0] | {"id": 99} | changes)


def every_box(document, change):
    for entry in document["annotations"]:
        entry["bboxes"] = [box and change(*box) for box in entry["bboxes"]]


def set_first(key, value, position=0):
    return lambda document: document["annotations"][0][key].__setitem__(position, value)


CATEGORIES = [{"id": 7, "name": "square", "supercategory": "things"}, {"id": 3, "name": "bar"}]
WARNINGS = [
    (lambda d: None, {}, ""),
    (
        lambda d: d.update(categories=[{"id": 0, "name": "things", "supercategory": "none"}, *CATEGORIES]),
        {"a category without an annotation": 1},
        "1 of 3 categories has no annotation: things (things is the supercategory of others",
    ),
    (
        lambda d: d["categories"].extend({"id": n, "name": f"n{n}"} for n in range(20, 32)),
        {"a category without an annotation": 12},
        "12 of 14 categories have no annotation: n20, n21, n22, n23, n24, n25, n26, n27, n28, n29 and 2 more",
    ),
    (
        lambda d: d["categories"][1].update(name="square"),
        {"two categories of one name": 1},
        "two categories with one name are two classes: square",
    ),
    (
        lambda d: d["categories"][1].update(name=" Square"),
        {"names that differ in case or spaces": 2},
        "whose names differ only in case, spaces or underscores: square,  Square",
    ),
    (lambda d: d["categories"][1].update(name=""), {"a category without a name": 1}, "no name: category 3"),
    (lambda d: d["annotations"][1].update(iscrowd=1), {"a crowd region": 1}, "1 of 2 annotations are crowd regions"),
    (
        lambda d: d["videos"].append(d["videos"][0] | {"id": 5, "file_names": ["w/0.jpg"] * 3}),
        {"a video without an annotation": 1, "a frame twice in a video": 2, "a missing frame": 3},
        "1 of 2 videos has no annotation, the first is video 5",
    ),
    (
        lambda d: d["videos"].append(d["videos"][0] | {"id": 5, "file_names": d["videos"][0]["file_names"]}),
        {"a video without an annotation": 1, "a frame of two videos": 3},
        "v1/00000.jpg is in videos 1 and 5",
    ),
    (again, {"an annotation twice": 1}, "annotations 10 and 99 have the same masks"),
    (
        lambda d: again(d, category_id=3),
        {"an annotation twice": 1},
        "annotations 10 and 99 have the same masks, of different categories",
    ),
    (
        lambda d: again(d, segmentations=[[[4, 8, 16, 8, 16, 20, 4, 20]], None, None], bboxes=None, areas=None),
        {"a mask of two annotations": 1},
        "annotations 10 and 99 have the same mask in 1 frames, first in segmentations[0]",
    ),
    (set_first("segmentations", None), {"a box without a mask": 1}, "annotation 10: segmentations[0] is null, its box"),
    (set_first("bboxes", None), {"a mask without a box": 1}, "annotation 10: segmentations[0]"),
    (
        lambda d: every_box(d, lambda x, y, w, h: [x, y, x + w, y + h]),
        {"a box in another convention": 5},
        "the numbers are x1, y1, x2, y2 in place of x, y, width, height",
    ),
    (
        lambda d: every_box(d, lambda x, y, w, h: [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]),
        {"a box in another convention": 5},
        "the numbers are fractions of the frame",
    ),
    (
        lambda d: every_box(d, lambda x, y, w, h: [x + w / 2, y + h / 2, w, h]),
        {"a box in another convention": 5},
        "the numbers are centre x, centre y, width, height",
    ),
    (set_first("bboxes", [4, 8, 20, 12]), {"a box that disagrees with its mask": 1}, "is off by 8 pixels"),
    (set_first("areas", 2000), {"an area that disagrees with its mask": 1}, "is 2000, the mask has 144 pixels"),
    (
        lambda d: d["annotations"][0].update(bboxes=[[1, 2], "x", [float("nan"), 0, 1, 1]]),
        {"a box that cannot be read": 3},
        "annotation 10: bboxes[0] is [1, 2]",
    ),
    (
        lambda d: d["videos"][0]["file_names"].__setitem__(1, "v1\\00001.jpg"),
        {"a missing frame": 1},
        "(it has Windows separators, write / for each)",
    ),
    (
        lambda d: d["videos"][0]["file_names"].reverse(),
        {"frames that are not in the order of their numbers": 1},
        "video 1 has v1/00001.jpg after v1/00002.jpg",
    ),
    (
        lambda d: d["videos"].append(d["videos"][0] | {"id": 5, "width": HEIGHT, "height": WIDTH}),
        {"a video without an annotation": 1, "a frame of two videos": 3, "a frame that cannot be used": 1},
        "v1/00000.jpg is 64 x 48",
    ),
    (lambda d: d.update(videos=[], annotations=[]), {"nothing in it": 1}, "has no videos"),
]


@pytest.mark.parametrize(("change", "kinds", "message"), WARNINGS)
def test_what_is_allowed_and_seldom_meant(tmp_path, change, kinds, message):
    document = boxed()
    write_frames(tmp_path / "train/JPEGImages", document)
    change(document)
    (tmp_path / "train.json").write_text(json.dumps(document))
    report = check(tmp_path)
    assert found(report) == kinds
    assert message in "\n".join(report.lines())
    assert report.usable is not any(problem.fatal for problem in report.problems.values())


def exif(orientation, size=(WIDTH, HEIGHT)):
    tags, buffer = Image.Exif(), io.BytesIO()
    tags[0x0112] = orientation
    Image.new("RGB", size).save(buffer, "JPEG", exif=tags)
    return buffer.getvalue()


def test_frames_that_exif_turns_are_counted(tmp_path, capsys):
    document = contents(videos=1, frames=4)
    write_dataset(tmp_path, document)
    for name, orientation in zip(document["videos"][0]["file_names"], (3, 2, 6, 1)):
        (tmp_path / "train/JPEGImages" / name).write_bytes(exif(orientation))
    assert main([str(tmp_path), "--frames"]) == 0
    printed = capsys.readouterr().out
    assert "warning: an EXIF orientation that nothing confirms: 2, first:" in printed
    assert "00000.jpg is turned by 180 degrees by its EXIF orientation 3; it is read upright" in printed
    assert "warning: an EXIF orientation that the annotated size settles: 1, first:" in printed
    (tmp_path / "train/JPEGImages" / document["videos"][0]["file_names"][2]).write_bytes(exif(6, (50, 40)))
    assert main([str(tmp_path), "--frames"]) == 1
    assert "is 40 x 50 (turned by 90 degrees by its EXIF orientation 6)" in capsys.readouterr().out


def test_splits_are_compared(tmp_path, capsys):
    write_dataset(tmp_path)
    document = contents(videos=2)
    first, second = document["categories"]
    first["name"], second["name"] = first["name"].title() + " ", "disc"  # the first is the same class all the same
    write_dataset(tmp_path, document, split="valid")
    document["videos"][0]["file_names"] = [f"new/{t}.jpg" for t in range(6)]
    (tmp_path / "valid/JPEGImages/v1").rename(tmp_path / "valid/JPEGImages/new")
    for t in range(6):
        (tmp_path / f"valid/JPEGImages/new/{t:05d}.jpg").rename(tmp_path / f"valid/JPEGImages/new/{t}.jpg")
    (tmp_path / "valid.json").write_text(json.dumps(document))
    (tmp_path / "train-sub.json").write_text((tmp_path / "train.json").read_text())
    assert main([str(tmp_path)]) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert warnings == [
        "warning: valid has categories that train does not have: disc",
        "warning: train has categories that valid does not have: bar",
        "warning: 1 videos of valid are in train too, by the first: v2/00000.jpg",
    ]
    for t in range(6):  # another video of the same name
        (tmp_path / f"valid/JPEGImages/v2/{t:05d}.jpg").write_bytes(exif(1))
    assert main([str(tmp_path), "--split", "train", "--split", "valid"]) == 0
    assert "too" not in capsys.readouterr().out


def test_groups_that_are_not_names_are_left_alone(tmp_path):
    document = boxed()
    document["categories"] = [{"id": 0, "name": "things"}, *({**c, "supercategory": [1, {}]} for c in CATEGORIES)]
    write_dataset(tmp_path, document)
    assert "1 of 3 categories has no annotation: things" in "\n".join(check(tmp_path).lines())


def test_crowds_alone_are_called_so(tmp_path, capsys):
    document = contents(videos=1)
    for entry in document["annotations"]:
        entry["iscrowd"] = 1
    write_dataset(tmp_path, document)
    assert main([str(tmp_path)]) == 1
    assert "masks are crowd regions ('iscrowd': 1)" in capsys.readouterr().out
