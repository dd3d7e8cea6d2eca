import json

import pytest
from data.makers import annotation, compressed, contents, rectangle, write_dataset

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
