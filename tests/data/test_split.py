import json

import pytest
from data.makers import contents, write_dataset, write_frames

from stmask.commands.data_split import main
from stmask.data import VideoDataset
from stmask.data.split import split_document
from stmask.errors import ConfigError, DataError


def ids(part):
    return [video["id"] for video in part["videos"]]


@pytest.mark.parametrize(("ratio", "count"), [((9, 1), 18), ((85, 15), 17), ((3, 17), 3), ((1, 1), 10)])
def test_the_first_videos_by_default(ratio, count):
    document = contents(videos=20)
    first, second = split_document(document, ratio)
    assert ids(first) == list(range(1, count + 1))
    assert ids(second) == list(range(count + 1, 21))
    assert [a["video_id"] for a in first["annotations"]] == [v for v in range(1, count + 1) for _ in range(2)]
    assert first["annotations"] + second["annotations"] == document["annotations"]
    assert first["categories"] == second["categories"] == document["categories"]


def test_a_seed_shuffles_by_video_and_always_the_same():
    document = contents(videos=20)
    first, second = split_document(document, (3, 1), seed=5)
    assert sorted(ids(first) + ids(second)) == list(range(1, 21))
    assert ids(first) == sorted(ids(first)) != list(range(1, 16))
    assert split_document(document, (3, 1), seed=5) == (first, second)
    assert split_document(document, (3, 1), seed=6) != (first, second)


def test_a_part_must_not_be_empty():
    with pytest.raises(DataError, match="3 videos cannot be divided 99:1"):
        split_document(contents(videos=3), (99, 1))


@pytest.mark.parametrize(
    ("annotations", "frames", "written"),
    [
        ("train.json", "train/JPEGImages", ("train-sub.json", "valid-sub.json")),
        ("train/instances.json", "train/JPEGImages", ("train-sub/instances.json", "valid-sub/instances.json")),
        ("annotations_train.json", "train", ("annotations_train-sub.json", "annotations_valid-sub.json")),
    ],
)
def test_the_parts_are_splits_of_the_same_layout(tmp_path, capsys, annotations, frames, written):
    document = contents(videos=4)
    (tmp_path / annotations).parent.mkdir(exist_ok=True)
    (tmp_path / annotations).write_text(json.dumps(document))
    write_frames(tmp_path / frames, document)
    assert main([str(tmp_path), "--ratio", "3:1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [str(tmp_path / name) for name in written]
    assert printed.err.splitlines() == [f"  {n} videos, {6 * n} frames, {2 * n} tracks, {11 * n} masks" for n in (3, 1)]
    parts = [VideoDataset.from_root(tmp_path, name) for name in ("train-sub", "valid-sub")]
    assert [len(part) for part in parts] == [3, 1]
    parts[1].read_frame(0, 0)
    with pytest.raises(ConfigError, match="exists already"):
        main([str(tmp_path), "--ratio", "3:1"])


def test_what_cannot_be_divided(tmp_path):
    write_dataset(tmp_path, contents() | {"annotations": None})
    with pytest.raises(DataError, match="unlabelled"):
        main([str(tmp_path)])
    with pytest.raises(ConfigError, match="9:1"):
        main([str(tmp_path), "--ratio", "0.9"])


def test_a_file_of_images_is_named(tmp_path):
    (tmp_path / "train.json").write_text('{"images": [], "categories": [], "annotations": []}')
    with pytest.raises(DataError, match="is of images"):
        main([str(tmp_path / "train.json")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--names", "a", "a"], "two different names, got 'a' twice"),
        (["--names", "../a", "b"], r"names of splits such as train-sub, got '\.\./a'"),
        (["--names", "a", ""], "names of splits"),
        (["--ratio", "²:1"], "a ratio is two numbers"),
        (["--ratio", f"{'9' * 5000}:1"], "a ratio is two numbers"),
        (["--ratio", "1:1", "--names", "a", "b"], "the second part would have no annotation; choose another --seed"),
    ],
)
def test_no_part_is_lost_or_empty(tmp_path, arguments, message):
    document = contents(videos=2)
    write_dataset(tmp_path, document | {"annotations": document["annotations"][:2]})
    with pytest.raises((ConfigError, DataError), match=message):
        main([str(tmp_path), *arguments])
    assert [path.name for path in tmp_path.glob("**/*.json")] == ["train.json"]


def test_parts_are_checked_before_they_have_their_names(tmp_path):
    document = contents(videos=2)
    document["annotations"][2]["segmentations"][1] = {"size": [48, 64], "counts": "abc"}
    write_dataset(tmp_path, document)
    with pytest.raises(DataError, match=r"train\.json: annotation 20: segmentations\[1\]"):
        main([str(tmp_path), "--ratio", "1:1"])
    assert [path.name for path in tmp_path.glob("*.json")] == ["train.json"]
