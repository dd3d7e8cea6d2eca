import json

import cv2
import numpy as np
import pytest
from data.makers import HEIGHT, WIDTH, annotation, compressed, contents, rectangle, write_dataset, write_frames

from stmask.data import CLASS_NAMES, VideoDataset
from stmask.errors import DataError


def test_labels_follow_the_order_of_the_file_and_not_its_ids(tmp_path):
    write_dataset(tmp_path)
    dataset = VideoDataset.from_root(tmp_path, "train")
    assert dataset.class_names == ("square", "bar")
    assert dataset.category_ids == (7, 3)
    found = dataset.instances(1, 2)
    assert found.labels.tolist() == [1, 2]
    assert np.array_equal(found.masks[0], rectangle(14, 8, 12, 12))
    assert np.array_equal(found.masks[1], rectangle(20, 30, 30, 6))
    assert dataset.instances(1, 0).labels.tolist() == [1]


def test_track_ids_stay_with_the_object_and_differ_between_videos(tmp_path):
    write_dataset(tmp_path)
    dataset = VideoDataset.from_root(tmp_path, "train")
    ids = [{tuple(dataset.instances(v, t).track_ids) for t in range(1, 6)} for v in range(3)]
    assert all(len(of_video) == 1 for of_video in ids)
    flat = [i for of_video in ids for i in next(iter(of_video))]
    assert len(set(flat)) == 6
    assert min(flat) > 0


def test_videos_and_frames(tmp_path):
    write_dataset(tmp_path)
    dataset = VideoDataset.from_root(tmp_path, "train")
    video = dataset.video(2)
    assert (video.video_id, video.size, len(video)) == (3, (HEIGHT, WIDTH), 6)
    assert video.file_names[5] == "v3/00005.jpg"
    frame = dataset.read_frame(2, 5)
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(frame.astype(int) - (100, 90, 40)).max() < 5  # RGB
    assert dataset.locate(13) == (2, 1)


def test_annotations_may_come_before_what_they_refer_to_and_in_any_order(tmp_path):
    document = contents()
    shuffled = {key: document[key] for key in ("annotations", "videos", "categories")}
    shuffled["annotations"] = shuffled["annotations"][::-1]
    write_dataset(tmp_path, shuffled)
    dataset = VideoDataset.from_root(tmp_path, "train")
    assert dataset.index.annotation_ids.tolist() == [11, 10, 21, 20, 31, 30]
    assert dataset.instances(0, 3).labels.tolist() == [2, 1]


def test_crowds_and_frames_without_objects_are_not_trained_on(tmp_path):
    document = contents(videos=2, frames=3)
    full = [compressed(rectangle(0, 0, 9, 9)) for _ in range(3)]
    document["annotations"] = [
        annotation(1, 1, 7, [None, full[1], None]),
        annotation(2, 1, 3, full, iscrowd=1),
        annotation(3, 2, 3, full, iscrowd=1),
    ]
    write_dataset(tmp_path, document)
    dataset = VideoDataset.from_root(tmp_path, "train")
    assert dataset.annotated_frames.tolist() == [1]
    assert dataset.annotated_in(0).tolist() == [1]
    assert dataset.annotated_in(1).tolist() == []
    assert dataset.instances(0, 1).labels.tolist() == [1]
    assert len(dataset.instances(0, 0)) == 0


@pytest.mark.parametrize("missing", [True, False])
def test_no_annotations_means_unlabelled(tmp_path, missing):
    document = contents()
    document["annotations"] = None
    if missing:
        del document["annotations"]
    write_dataset(tmp_path, document, split="valid")
    dataset = VideoDataset.from_root(tmp_path, "valid")
    assert not dataset.labelled
    assert len(dataset) == 3
    assert len(dataset.instances(0, 0)) == 0


LAYOUTS = {
    "YouTube-VIS 2019": ("train.json", "train/JPEGImages"),
    "YouTube-VOS": ("annotations_instances/train.json", "train/JPEGImages"),
    "YouTube-VIS 2021": ("train/instances.json", "train/JPEGImages"),
    "OVIS": ("annotations_train.json", "train"),
    "LV-VIS": ("train_instances.json", "JPEGImages/train"),
    "a split of another's videos": ("train.json", "all/JPEGImages"),
}


@pytest.mark.parametrize(("annotations", "frames"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_are_recognised(tmp_path, annotations, frames):
    document = contents(videos=1)
    path = tmp_path / annotations
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    write_frames(tmp_path / frames, document)
    dataset = VideoDataset.from_root(tmp_path, "train")
    assert dataset.annotations_path == path
    assert dataset.frames_path == tmp_path / frames
    assert dataset.read_frame(0, 0).shape == (HEIGHT, WIDTH, 3)


def coco():
    polygon = [[10, 10, 30, 10, 30, 20, 10, 20]]
    return {
        "categories": [{"id": 4, "name": "cat"}],
        "images": [{"id": 7 * n, "file_name": f"{n}.jpg", "width": WIDTH, "height": HEIGHT} for n in (1, 2, 3)],
        "annotations": [
            {"id": 5, "image_id": 14, "category_id": 4, "segmentation": polygon, "iscrowd": 0},
            {
                "id": 6,
                "image_id": 14,
                "category_id": 4,
                "segmentation": compressed(rectangle(0, 0, 5, 5)),
                "iscrowd": 1,
            },
        ],
    }


def test_coco_images_are_videos_of_one_frame(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(coco()))
    cv2.imwrite(str(tmp_path / "val2017/2.jpg"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    dataset = VideoDataset.from_root(tmp_path, "valid")
    assert [dataset.video(i).file_names for i in range(3)] == [("1.jpg",), ("2.jpg",), ("3.jpg",)]
    assert dataset.annotated_frames.tolist() == [1]
    assert dataset.instances(1, 0).masks[0].sum() == 200
    assert dataset.read_frame(1, 0).shape == (HEIGHT, WIDTH, 3)


def test_an_annotation_of_an_unknown_image(tmp_path):
    document = coco()
    document["annotations"][1]["image_id"] = 3
    path = tmp_path / "train.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="annotation 6: 'image_id' is 3, which is not in 'images'"):
        VideoDataset(path, tmp_path)


def test_valid_may_be_called_val(tmp_path):
    write_dataset(tmp_path, split="val")
    assert len(VideoDataset.from_root(tmp_path, "valid")) == 3


def test_an_explicit_path_wins(tmp_path):
    write_dataset(tmp_path / "a")
    other = write_dataset(tmp_path / "b", contents(videos=1))
    dataset = VideoDataset.from_root(tmp_path / "a", "train", annotations=other)
    assert len(dataset) == 1
    assert dataset.frames_path == tmp_path / "a/train/JPEGImages"


def _change(key, position, **values):
    def change(document):
        document[key][position].update(values)

    return change


def _drop(key):
    return lambda document: document.pop(key)


BROKEN = {
    "no videos": (_drop("videos"), "not a YouTube-VIS or COCO file, it has no 'videos'"),
    "no categories": (_drop("categories"), "it has no 'categories'"),
    "a list too short": (_change("annotations", 1, segmentations=[None]), "annotation 11.*1 entries.*6 frames"),
    "unknown category": (_change("annotations", 2, category_id=9), "annotation 20: 'category_id' is 9"),
    "unknown video": (_change("annotations", 3, video_id=9), "annotation 21: 'video_id' is 9"),
    "no segmentations": (_change("annotations", 0, segmentations=None), "annotation 10: 'segmentations'"),
    "a broken mask": (_change("annotations", 0, segmentations=[5] * 6), r"annotation 10: segmentations\[0\]"),
    "a mask of another size": (
        _change("annotations", 0, segmentations=[{"size": [9, 9], "counts": [1, 80]}] * 6),
        r"annotation 10: 'size' is \[9, 9\], video 1 is \[48, 64\]",
    ),
    "an annotation id twice": (_change("annotations", 1, id=10), "annotation id 10 occurs twice"),
    "a video id twice": (_change("videos", 1, id=1), "video id 1 occurs twice"),
    "a category id twice": (_change("categories", 1, id=7), "category id 7 occurs twice"),
    "a wrong length": (_change("videos", 0, length=7), "video 1: 'length' is 7"),
    "no file names": (_change("videos", 0, file_names=[]), "video 1: 'file_names'"),
    "no size": (lambda d: d["videos"][0].pop("height"), r"videos\[0\] needs .*height"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_with_a_file_is_named(tmp_path, change, message):
    document = contents()
    change(document)
    path = write_dataset(tmp_path, contents())
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=message) as caught:
        VideoDataset.from_root(tmp_path, "train")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "does not start with '{'"),
        ("3", "does not start with '{'"),
        ("", "not valid JSON"),
        ('{"videos": [,]}', r"not valid JSON \(line 1, column 13\)"),
        ('{"videos": []', "not valid JSON"),
        ('{"videos": []} x', "not valid JSON"),
        ('{"images": [], "annotations": []}', "it has no 'categories'"),
        ('{"images": [{"id": 1}], "categories": []}', r"images\[0\] needs 'file_name'"),
        ('{"videos": {}, "categories": []}', "'videos' must be a list"),
        ('{"videos": [], "categories": 3}', "'categories' must be"),
        ('{"videos": [], "annotations": 3, "categories": []}', "'annotations' must be"),
        ('{"videos": [], "annotations": [3], "categories": []}', r"annotations\[0\] must be an object, got int"),
        ('{"videos": [null], "categories": []}', r"videos\[0\] must be an object, got null"),
        ('{"images": null, "categories": []}', "'images' must be a list"),
        ('{"videos": [], "categories": [null]}', r"categories\[0\] must be an object, got null"),
    ],
)
def test_files_that_are_something_else(tmp_path, text, message):
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        VideoDataset(path, tmp_path)


def test_places_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match=r"no dataset folder .*STMASK_DATA"):
        VideoDataset.from_root(tmp_path / "none", "train")
    with pytest.raises(DataError, match=r"looked for train\.json, annotations_instances/train\.json"):
        VideoDataset.from_root(tmp_path, "train")
    (tmp_path / "train.json").write_text(json.dumps(contents()))
    with pytest.raises(DataError, match=r"no frames of split 'train'.*v1/00000\.jpg"):
        VideoDataset.from_root(tmp_path, "train")
    with pytest.raises(DataError, match=r"give data\.root"):
        VideoDataset.from_root(None, "train")


def test_frames_that_cannot_be_used_are_named(tmp_path):
    write_dataset(tmp_path)
    dataset = VideoDataset.from_root(tmp_path, "train")
    dataset.frame_path(0, 0).unlink()
    dataset.frame_path(0, 1).write_bytes(b"no image")
    whole = dataset.frame_path(0, 2).read_bytes()
    dataset.frame_path(0, 2).write_bytes(whole[: len(whole) - 40])
    dataset.frame_path(0, 3).write_bytes(b"")
    cv2.imwrite(str(dataset.frame_path(0, 4)), np.zeros((10, 20, 3), np.uint8))
    for position, message in enumerate(["no such frame", "not a readable image", "truncated", "not a", "20 x 10"]):
        with pytest.raises(DataError, match=message) as caught:
            dataset.read_frame(0, position)
        assert str(dataset.frame_path(0, position)) in str(caught.value)


def test_a_broken_mask_is_named_before_anything_is_trained(tmp_path):
    document = contents()
    document["annotations"][0]["segmentations"][2]["counts"] = "abc"
    write_dataset(tmp_path, document)
    with pytest.raises(DataError, match=r"train\.json: annotation 10: segmentations\[2\]: the run-length string"):
        VideoDataset.from_root(tmp_path, "train")


def test_class_lists_of_the_public_datasets():
    assert [len(CLASS_NAMES[name]) for name in ("ytvis2019", "ytvis2021", "ovis")] == [40, 40, 25]
    assert CLASS_NAMES["ytvis2019"][:2] == ("person", "giant_panda")
    assert list(CLASS_NAMES["ytvis2021"]) == sorted(CLASS_NAMES["ytvis2021"])
    assert all(len(set(classes)) == len(classes) for classes in CLASS_NAMES.values())
