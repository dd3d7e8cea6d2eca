"""COCO files of annotation tools: which boxes are one object, which images one video, and what is refused."""

import json

import pytest
from data.makers import contents

from stmask.commands.data_convert import main
from stmask.data.convert import Grouping, Notes, from_images, to_images, to_masks
from stmask.data.layouts import find_frames
from stmask.errors import DataError, OutputError
from stmask.files import read_json

POLYGON = [[8, 8, 30, 8, 30, 30, 8, 30]]


def coco(change=None, frames=3):
    """An object of 'instance_id' 5 in each frame of a video."""
    document = {
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "hand"}],
        "videos": [{"id": 1, "name": "v"}],
        "images": [
            {"id": t + 1, "video_id": 1, "frame_id": t, "file_name": f"v/{t}.png", "width": 96, "height": 64}
            for t in range(frames)
        ],
        "annotations": [
            {"id": t + 1, "image_id": t + 1, "category_id": 1, "iscrowd": 0, "instance_id": 5}
            | {"segmentation": POLYGON, "bbox": [8, 8, 22, 22], "area": 484}
            for t in range(frames)
        ],
    }
    if change is not None:
        change(document)
    return document


def each(key, **values):
    """A change of all members of a list; None removes a key."""

    def change(document):
        for entry in document[key]:
            entry.update(values)
            for name in [name for name, value in values.items() if value is None]:
                del entry[name]

    return change


def one(key, index, **values):
    return lambda document: document[key][index].update(values)


def both(*changes):
    def change(document):
        for one_change in changes:
            one_change(document)

    return change


def shapes(document):
    """How many frames each track has a mask in, by its id."""
    return {track["id"]: sum(map(bool, track["segmentations"])) for track in document["annotations"]}


NO_IDENTITY = each("annotations", instance_id=None)
NO_VIDEOS = each("images", video_id=None)


@pytest.mark.parametrize(
    ("change", "tracks", "said"),
    [
        (None, {5: 3}, None),
        (both(NO_IDENTITY, each("annotations", track_id=0)), {0: 3}, None),
        (both(NO_IDENTITY, each("annotations", attributes={"track_id": 0, "keyframe": True})), {0: 3}, None),
        (each("annotations", track_id=5, attributes={"track_id": 5}), {5: 3}, None),
        (
            each("annotations", instance_id=5.0, image_id=1.0) if False else each("annotations", instance_id=5.0),
            {5: 3},
            None,
        ),
        (
            NO_IDENTITY,
            {1: 1, 2: 1, 3: 1},
            "annotations without 'instance_id' or 'track_id', each a track of one frame: 3",
        ),
        (one("annotations", 1, instance_id=None), {5: 2, 2: 1}, "each a track of one frame: 1, first: annotation 2"),
        (each("annotations", iscrowd=False), {5: 3}, None),
    ],
)
def test_an_object_is_known_by_its_number_wherever_it_stands(change, tracks, said):
    notes = Notes()
    assert shapes(from_images(coco(change), notes=notes)) == tracks
    assert ("\n".join(notes) or None) == said or said in "\n".join(notes)


def names(document):
    return [video["file_names"] for video in document["videos"]]


def rename(*file_names):
    def change(document):
        for image, name in zip(document["images"], file_names, strict=True):
            image["file_name"] = name

    return change


UNNUMBERED = each("images", frame_id=None)


@pytest.mark.parametrize(
    ("change", "order", "said"),
    [
        (
            both(UNNUMBERED, rename("10.jpg", "2.jpg", "1.jpg")),
            ["1.jpg", "2.jpg", "10.jpg"],
            "order of their file names: 1",
        ),
        (
            rename("10.jpg", "2.jpg", "1.jpg"),
            ["10.jpg", "2.jpg", "1.jpg"],
            "'frame_id' disagrees with the numbers",
        ),
        (
            one("images", 0, frame_id=7.0),
            ["v/1.png", "v/2.png", "v/0.png"],
            "'frame_id' disagrees with the numbers",
        ),
        (
            rename("v\\0.jpg", "v\\1.jpg", "v\\2.jpg"),
            ["v/0.jpg", "v/1.jpg", "v/2.jpg"],
            "Windows separators, written with /: 3",
        ),
        (
            lambda d: d["videos"].append({"id": 9}),
            ["v/0.png", "v/1.png", "v/2.png"],
            "videos without an image, left out: 1",
        ),
        (
            each("annotations", segmentation=None),
            ["v/0.png", "v/1.png", "v/2.png"],
            "with a box and no mask: 3, first: annotation 1",
        ),
    ],
)
def test_what_is_decided_is_said(change, order, said):
    notes = Notes()
    assert names(from_images(coco(change), notes=notes)) == [order]
    assert said in "\n".join(notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            each("annotations", track_id=4),
            r"annotation 1: 'instance_id' \(5\) and 'track_id' \(4\) name different objects",
        ),
        (each("annotations", instance_id="5"), "annotation 1: 'instance_id' must be an integer of at least 0, got '5'"),
        (each("annotations", instance_id=True), "annotation 1: 'instance_id' must be an integer"),
        (each("annotations", instance_id=float("nan")), "'instance_id' must be an integer of at least 0, got nan"),
        (each("annotations", instance_id=1.5), "annotation 1: 'instance_id' must be an integer"),
        (each("annotations", instance_id=1e300), "annotation 1: 'instance_id' must be an integer"),
        (
            each("annotations", instance_id=-1),
            "'instance_id' must be .* got -1; number the objects",
        ),
        (each("images", frame_id="1"), "image 1: 'frame_id' must be an integer, got '1'"),
        (one("annotations", 1, category_id=2), "annotation 2: the 'category_id' of instance 5 is 2, earlier it was 1"),
        (one("annotations", 0, category_id=9), "annotation 1: 'category_id' is 9, which is not in 'categories'"),
        (one("annotations", 1, image_id=1), "annotation 2: instance 5 is in image 1 twice"),
        (one("annotations", 1, id=1), "annotation id 1 occurs twice"),
        (one("annotations", 1, video_id=2), "annotation 2: 'video_id' is 2, its image 2 is of video 1"),
        (
            one("annotations", 1, iscrowd=1),
            "annotation 2: 'iscrowd' is 1, in annotation 1 of the same instance 5 it is 0",
        ),
        (one("annotations", 1, iscrowd="0"), "annotation 2: 'iscrowd' must be 0 or 1, got '0'"),
        (one("annotations", 1, bbox=[float("nan"), 1, 1, 1]), "annotation 2: 'bbox' must be four finite numbers"),
        (one("annotations", 1, segmentation=[[1, 2]], area=None), "annotation 2: a polygon"),
        (lambda d: d["annotations"].append(None), r"annotations\[3\] is not an object but None"),
        (lambda d: d["annotations"][0].pop("category_id"), "annotation 1 needs 'category_id'"),
        (lambda d: d.update(categories=None), "'categories' must be a list"),
        (lambda d: d.update(annotations={}), "'annotations' must be a list or null"),
        (one("images", 1, width=64, height=96), "image 2 is 64 x 96, its video 96 x 64"),
        (lambda d: d["videos"][0].update(width=64, height=64), "image 1 is 96 x 64, its video 64 x 64"),
        (one("images", 1, id=1), "image id 1 occurs twice"),
        (one("images", 1, video_id=8), "image 2: 'video_id' is 8, which is not in 'videos'"),
        (one("images", 1, video_id=None), r"image 2 has no 'video_id' \(1 of 3 images have none\).*--videos-by-folder"),
        (one("images", 1, frame_id=0), "images 1 and 2 of video 1 have the same 'frame_id' 0"),
        (one("images", 1, frame_id=None), "image 2 has no 'frame_id', others of video 1 have"),
        (
            both(UNNUMBERED, rename("a/1.jpg", "a/01.jpg", "a/2.jpg")),
            "images 1 and 2 of video 1 .* which one comes first",
        ),
        (
            lambda d: [i.update(frame_index=-i["frame_id"]) for i in d["images"]],
            "'frame_index' and 'frame_id' order its images",
        ),
        (NO_VIDEOS, "object 5 is in images 1 and 2, but no image has a 'video_id': --videos-by-folder"),
    ],
)
def test_what_is_left_open_or_wrong_is_refused_by_name(change, message):
    with pytest.raises(DataError, match=message):
        from_images(coco(change))


@pytest.mark.parametrize(
    ("videos", "change", "groups"),
    [
        (Grouping.BY_FOLDER, NO_VIDEOS, [["v/0.png", "v/1.png", "v/2.png"]]),
        (
            Grouping.BY_FOLDER,
            both(NO_VIDEOS, UNNUMBERED, rename("b.png", "a.png", "c.png")),
            [["a.png", "b.png", "c.png"]],
        ),
        (Grouping.BY_FOLDER, rename("v/1.png", "w/1.png", "w/0.png"), [["v/1.png"], ["w/1.png", "w/0.png"]]),
        (Grouping.SINGLE_FRAMES, None, [["v/0.png"], ["v/1.png"], ["v/2.png"]]),
        (Grouping.BY_ID, both(NO_VIDEOS, NO_IDENTITY), [["v/0.png"], ["v/1.png"], ["v/2.png"]]),
    ],
)
def test_what_makes_a_video(videos, change, groups):
    notes = Notes()
    document = from_images(coco(change), videos=videos, notes=notes)
    assert names(document) == groups
    assert ("images without 'video_id', each a video of one frame" in "\n".join(notes)) is (videos == Grouping.BY_ID)


def test_crowd_regions_are_counted_and_can_be_taken_for_objects():
    painted = coco(both(one("annotations", 1, iscrowd=1), each("annotations", attributes={"is_crowd": True})))
    document = from_images(painted, ignore_iscrowd=True)
    assert (shapes(document), document["annotations"][0]["iscrowd"]) == ({5: 3}, 0)
    notes = Notes()
    assert from_images(coco(each("annotations", iscrowd=1)), notes=notes)["annotations"][0]["iscrowd"] == 1
    assert "crowd regions, which are not trained on" in "\n".join(notes)


def run(tmp_path, kind, document, *more, out="out.json"):
    source = tmp_path / "in.json"
    source.write_text(json.dumps(document))
    assert main([kind, str(source), str(tmp_path / out), *more]) == 0
    return tmp_path / out


@pytest.mark.parametrize(
    ("kind", "document", "message"),
    [
        (
            "coco-to-ytvis",
            coco(one("annotations", 1, segmentation=[[1, 2]])),
            r"in\.json: annotation 2: segment.*nothing was",
        ),
        (
            "coco-to-ytvis",
            coco(lambda d: d["categories"].append(d["categories"][0])),
            r"in\.json: category id 1 occurs twice",
        ),
        ("coco-to-ytvis", coco(lambda d: d.update(annotations=[])), r"in\.json: there is no annotation in it"),
        (
            "coco-to-ytvis",
            coco(lambda d: d.update(annotations=[], images=[])),
            r"in\.json: there is no frame in it|no videos",
        ),
        ("coco-to-ytvis", coco(each("annotations", iscrowd=1)), r"in\.json: all 3 masks are crowd regions"),
        ("ytvis-to-coco", contents() | {"annotations": []}, r"in\.json: there is no annotation in it"),
        ("ytvis-to-masks", contents() | {"annotations": None}, r"in\.json: there is no track in it"),
    ],
)
def test_nothing_is_written_that_is_wrong_or_empty(tmp_path, kind, document, message):
    with pytest.raises(DataError, match=message):
        run(tmp_path, kind, document, out="new/out")
    assert not (tmp_path / "new/out").exists()


def test_counts_and_warnings_are_printed(tmp_path, capsys):
    run(tmp_path, "coco-to-ytvis", coco(each("annotations", segmentation=None)))
    said = capsys.readouterr().err
    assert "  1 videos, 3 frames, 1 tracks, 0 masks\n  annotations with a box and no mask: 3" in said
    assert "warning: nothing to learn from" in said
    run(tmp_path, "coco-to-ytvis", coco(lambda d: d.update(annotations=None)), "--overwrite")
    assert "1 videos, 3 frames, 0 tracks, unlabelled" in capsys.readouterr().err
    run(tmp_path, "coco-to-ytvis", coco(NO_VIDEOS), "--overwrite", "--videos-by-folder")
    assert "1 videos, 3 frames, 1 tracks, 3 masks" in capsys.readouterr().err


def test_an_input_or_an_annotation_file_is_never_overwritten(tmp_path):
    source = tmp_path / "in.json"
    (tmp_path / "link.json").symlink_to(source)
    for kind, document in (("coco-to-ytvis", coco()), ("ytvis-to-coco", contents())):
        for name in ("in.json", "link.json"):
            with pytest.raises(OutputError, match="is the input; choose"):
                run(tmp_path, kind, document, "--overwrite", out=name)
        (tmp_path / "valid.json").write_text("{}")
        with pytest.raises(OutputError, match=r"valid\.json exists already"):
            run(tmp_path, kind, document, out="valid.json")
        assert (read_json(source), read_json(tmp_path / "valid.json")) == (document, {})


def test_boxes_without_masks_survive_the_way_to_coco_and_back():
    document = contents(videos=1, frames=2)
    document["annotations"][1] |= {"segmentations": [None, None], "bboxes": [[1, 2, 3, 4], [0, 0, 0, 0]]}
    document["annotations"][0] |= {"bboxes": [[1, 2, 3, 4]], "areas": ["x", 144]}
    notes = Notes()
    images = to_images(document, notes)
    assert [a.get("bbox") for a in images["annotations"]] == [[4, 8, 12, 12], [9, 8, 12, 12], [1, 2, 3, 4]]
    assert [line.split(", first")[0] for line in notes] == [
        "lists of bboxes with the wrong length, recomputed: 1",
        "invalid areas, recomputed: 1",
        "boxes without a mask, kept as they are: 1",
    ]
    assert from_images(images)["annotations"][1]["bboxes"] == [[1, 2, 3, 4], None]
    assert to_images(document | {"annotations": None})["annotations"] is None


def test_frames_with_windows_separators_are_looked_for_in_vain(tmp_path):
    with pytest.raises(
        DataError, match=r"looked for v\\0\.jpg in .*; 'file_names' have Windows separators, write / for"
    ):
        find_frames(tmp_path, "train", ["v\\0.jpg"])


def files_of(video, *file_names):
    return one("videos", video, file_names=list(file_names))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (files_of(1, "x/v1/0.jpg", "x/v1/1.jpg"), "video 1 and video 2 are both in a folder named 'v1'"),
        (files_of(1, "v2/0.jpg", "v2/0.png"), "video 2 has two frames named '0'"),
        (files_of(1, "a/0.jpg", "b/1.jpg"), r"video 2: its frames are in several folders \(a, b\)"),
        (files_of(1, "../0.jpg", "../1.jpg"), "does not name the folder of its frames"),
    ],
)
def test_no_mask_image_is_written_over_another(tmp_path, change, message):
    document = contents(videos=2, frames=2)
    change(document)
    with pytest.raises(DataError, match=message):
        to_masks(document, tmp_path)


def test_what_mask_images_cannot_say(tmp_path, capsys):
    document = contents(videos=2, frames=2)
    files_of(0, "v1\\1.jpg", "v1\\0.jpg")(document)
    files_of(1, "0.jpg", "1.jpg")(document)
    document["annotations"][2]["iscrowd"] = 1
    document["annotations"].append(document["annotations"][3] | {"id": 99})
    out = run(tmp_path, "ytvis-to-masks", document, out="masks")
    said = capsys.readouterr().err
    assert "2 videos, 4 mask images, 4 tracks, 4 masks" in said
    for line in (
        "crowd regions, left out: 1",
        "not in name order",
        "wholly covered and lost: 1",
        "called by their id: 1",
        "separators",
    ):
        assert line in said
    assert sorted(read_json(out / "meta.json")["videos"]) == ["2", "v1"]
    with pytest.raises(OutputError, match="is a folder that is not empty"):
        run(tmp_path, "ytvis-to-masks", document, out="masks")
