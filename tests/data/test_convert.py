import json

import cv2
import numpy as np
import pytest
from data.makers import HEIGHT, WIDTH, annotation, compressed, contents, rectangle, write_dataset, write_frames

from stmask.commands.data_convert import main
from stmask.data import VideoDataset
from stmask.data.convert import from_images, from_masklets, from_masks, to_images, to_masks
from stmask.data.convert.tracks import encode, track
from stmask.errors import DataError, OutputError
from stmask.files import read_json, write_json
from stmask.inference.video import VideoWriter


def measured(document):
    """The same document with boxes and areas stated."""
    size = {"height": HEIGHT, "width": WIDTH}
    tracks = [
        track(a["id"], a["segmentations"], video=a["video_id"], category=a["category_id"], **size)
        for a in document["annotations"]
    ]
    return document | {"annotations": tracks}


def masks_of(document, tmp_path):
    """All masks by video name, frame and class, whatever the encoding and the ids."""
    path = tmp_path / "masks-of.json"
    path.write_text(json.dumps(document))
    dataset = VideoDataset(path, tmp_path)
    found = {}
    for v in range(len(dataset)):
        for t, name in enumerate(dataset.video(v).file_names):
            instances = dataset.instances(v, t)
            shapes = zip(instances.labels, instances.masks, strict=True)
            found[name] = sorted((dataset.class_names[label - 1], mask.tobytes()) for label, mask in shapes)
    return found


def test_videos_to_coco_and_back():
    document = measured(contents())
    images = to_images(document)
    assert len(images["images"]) == 18
    assert len(images["annotations"]) == 33
    first = images["annotations"][0]
    assert (first["instance_id"], first["video_id"], first["image_id"]) == (10, 1, 1)
    assert first["bbox"] == [4, 8, 12, 12]
    assert first["area"] == 144
    assert [a["id"] for a in images["annotations"]] == list(range(1, 34))
    assert from_images(images) == document


def test_boxes_and_areas_are_measured_where_they_are_missing():
    document = contents()
    assert from_images(to_images(document)) == measured(document)


def coco():
    polygon = [[10.0, 10.0, 30.0, 10.0, 30.0, 20.0, 10.0, 20.0]]
    cat, cats = ({"id": n, "image_id": 14, "category_id": 4, "iscrowd": n - 5} for n in (5, 6))
    cat |= {"segmentation": polygon, "bbox": [10, 10, 20, 10], "area": 200}
    cats |= {"segmentation": compressed(rectangle(0, 0, 5, 5)), "bbox": [0, 0, 5, 5], "area": 25}
    return {
        "categories": [{"id": 4, "name": "cat"}],
        "images": [{"id": 7 * n, "file_name": f"{n}.jpg", "width": 64, "height": 48} for n in (1, 2)],
        "annotations": [cat, cats],
    }


def test_images_become_videos_of_one_frame_and_images_again(tmp_path):
    document = from_images(coco())
    assert [(v["id"], v["file_names"]) for v in document["videos"]] == [(7, ["1.jpg"]), (14, ["2.jpg"])]
    assert [a["iscrowd"] for a in document["annotations"]] == [0, 1]
    assert len(masks_of(document, tmp_path)["2.jpg"]) == 1
    again = to_images(document)["annotations"]
    shared = ("category_id", "segmentation", "bbox", "area", "iscrowd")
    assert [[a[key] for key in shared] for a in again] == [[a[key] for key in shared] for a in coco()["annotations"]]


def test_instance_ids_that_begin_anew_in_each_video(tmp_path):
    document = measured(contents())
    images = to_images(document)
    first = {}
    for entry in images["annotations"]:
        entry["instance_id"] -= first.setdefault(entry["video_id"], entry["instance_id"]) - 1
    again = from_images(images)
    assert [a["id"] for a in again["annotations"]] == list(range(1, len(document["annotations"]) + 1))
    assert masks_of(again, tmp_path) == masks_of(document, tmp_path)


def test_an_instance_that_is_twice_in_an_image_or_changes_its_class():
    images = to_images(contents())
    twice, changed = images["annotations"][0] | {"id": 99}, images["annotations"][1] | {"category_id": 77}
    with pytest.raises(DataError, match="annotation 99: instance 10 is in image 1 twice"):
        from_images(images | {"annotations": [*images["annotations"], twice]})
    with pytest.raises(DataError, match="the 'category_id' of instance 10 is 77, earlier it was"):
        from_images(images | {"annotations": [images["annotations"][0], changed]})


def test_an_annotation_of_an_unknown_image():
    document = coco()
    document["annotations"][0]["image_id"] = 3
    with pytest.raises(DataError, match="annotation 5: 'image_id' is 3"):
        from_images(document)


def test_mask_images_and_back(tmp_path):
    document = contents(videos=2)
    write_frames(tmp_path / "frames", document)
    to_masks(document, tmp_path / "masks")
    assert (tmp_path / "masks/v2/00005.png").is_file()
    again = from_masks(tmp_path / "frames", tmp_path / "masks", tmp_path / "masks/meta.json")
    assert {c["name"] for c in again["categories"]} == {"square", "bar"}
    assert masks_of(again, tmp_path) == masks_of(document, tmp_path)
    classless = from_masks(tmp_path / "frames", tmp_path / "masks")
    assert [c["name"] for c in classless["categories"]] == ["object"]


def test_where_tracks_overlap_the_first_has_the_pixel(tmp_path):
    document = contents(videos=1, frames=1)
    below, above = rectangle(0, 0, 20, 20), rectangle(10, 10, 20, 20)
    document["annotations"] = [annotation(1, 1, 7, [compressed(above)]), annotation(2, 1, 7, [compressed(below)])]
    write_frames(tmp_path / "frames", document)
    to_masks(document, tmp_path / "masks")
    again = from_masks(tmp_path / "frames", tmp_path / "masks")
    expected = sorted([above.tobytes(), (below & ~above).tobytes()])
    assert [mask for _, mask in masks_of(again, tmp_path)["v1/00000.jpg"]] == expected


def test_mask_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="no videos in"):
        from_masks(tmp_path, tmp_path / "none")
    document = contents(videos=1, frames=2)
    to_masks(document, tmp_path / "masks")
    with pytest.raises(DataError, match=r"no frame .*v1/00000\.jpg"):
        from_masks(tmp_path / "frames", tmp_path / "masks")
    write_frames(tmp_path / "frames", document)
    (tmp_path / "c.json").write_text('{"videos": {"v1": {"objects": {"1": {"category": "a"}}}}}')
    with pytest.raises(DataError, match="object 2 of video 'v1' has no class"):
        from_masks(tmp_path / "frames", tmp_path / "masks", tmp_path / "c.json")
    (tmp_path / "c.json").write_text('{"v1": 3}')
    with pytest.raises(DataError, match="does not name classes"):
        from_masks(tmp_path / "frames", tmp_path / "masks", tmp_path / "c.json")
    cv2.imwrite(str(tmp_path / "masks/v1/00001.png"), np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError, match=r"00001\.png is 9 x 9, the first one of its video is 64 x 48"):
        from_masks(tmp_path / "frames", tmp_path / "masks")
    cv2.imwrite(str(tmp_path / "masks/v1/00000.png"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(DataError, match="has colours"):
        from_masks(tmp_path / "frames", tmp_path / "masks")
    (tmp_path / "masks/v1/00000.png").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read"):
        from_masks(tmp_path / "frames", tmp_path / "masks")


def masklets(path, frames=3):
    shapes = [[rectangle(2 * t, 5, 8, 8), rectangle(30, 30, 6, 6) * (t > 0)] for t in range(frames)]
    content = {
        "video_id": "sav_1",
        "video_height": float(HEIGHT),
        "video_width": float(WIDTH),
        "masklet_id": [0, 1],
        "masklet": [[encode(mask) for mask in of_frame] for of_frame in shapes],
    }
    path.write_text(json.dumps(content))
    return shapes


def test_masklets(tmp_path, capsys):
    shapes = masklets(tmp_path / "sav_1_manual.json")
    with VideoWriter(tmp_path / "sav_1.mp4", fps=24, size=(HEIGHT, WIDTH)) as writer:
        for t in range(9):
            writer.write(np.full((HEIGHT, WIDTH, 3), 20 * t, np.uint8))
    assert main(["sav-to-ytvis", str(tmp_path), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out/train.json")
    dataset = VideoDataset.from_root(tmp_path / "out", "train")
    assert dataset.video(0).file_names == ("sav_1/00000.jpg", "sav_1/00004.jpg", "sav_1/00008.jpg")
    assert abs(int(dataset.read_frame(0, 1).mean()) - 80) < 6
    assert len(dataset.instances(0, 0)) == 1  # the second object appears later
    for t in (1, 2):
        assert all(np.array_equal(a, b) for a, b in zip(dataset.instances(0, t).masks, shapes[t], strict=True))


def test_masklets_that_do_not_fit(tmp_path):
    masklets(tmp_path / "sav_1_manual.json")
    frames = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 5
    with pytest.raises(DataError, match="masks for 3 frames, the video only 2"):
        from_masklets([([tmp_path / "sav_1_manual.json"], frames)], tmp_path / "f")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match="does not hold masklets"):
        from_masklets([([tmp_path / "other.json"], frames)], tmp_path / "f")
    with pytest.raises(DataError, match="no masklets found"):
        from_masklets([], tmp_path / "f")


def test_masklets_of_files_that_do_not_go_together(tmp_path):
    for name in ("a", "b"):
        masklets(tmp_path / f"{name}_manual.json")
    frames = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 9
    own = [([tmp_path / f"{name}_manual.json"], frames) for name in ("a", "b")]
    with pytest.raises(DataError, match=r"a_manual\.json and .*b_manual\.json are both of the video 'sav_1'"):
        from_masklets(own, tmp_path / "f")
    with pytest.raises(DataError, match="the video of sav_1 is 48 x 64, its masklets are 64 x 48"):
        from_masklets([(own[0][0], [frame.transpose(1, 0, 2) for frame in frames])], tmp_path / "f")
    content = read_json(tmp_path / "a_manual.json")
    for change, message in [
        ({"video_id": "../x"}, "'video_id' must be the name of a video, got '../x'"),
        ({"video_id": None}, "'video_id' must be"),
        ({"video_width": "64"}, "'video_width' must be an integer"),
        ({"masklet": [None]}, "'masklet' must be a list of frames"),
        ({"masklet": [[encode(rectangle(0, 0, 4, 4).T)]]}, "object 0: 'size' is"),
        ({"masklet": [[None]]}, "no masks in the masklets"),
        ({"masklet": [[]]}, "no masks in the masklets"),
    ]:
        write_json(tmp_path / "a_manual.json", content | change)
        with pytest.raises(DataError, match=message):
            from_masklets(own[:1], tmp_path / "f")
    write_json(tmp_path / "a_manual.json", content | {"masklet": content["masklet"][:2]})
    with pytest.raises(DataError, match=r"a_manual\.json and b_manual\.json do not go together: .*in 2 frames"):
        from_masklets([(own[0][0] + own[1][0], frames)], tmp_path / "f")


def test_what_is_left_out_of_a_folder_of_masklets_is_counted(tmp_path, capsys):
    for name in ("sav_1_manual", "sav_2_manual", "._sav_1_manual"):
        masklets(tmp_path / f"{name}.json", frames=1)
    for name in ("sav_1.MP4", "sav_3.mp4", "._sav_1.mp4"):
        with VideoWriter(tmp_path / "sav.mp4", fps=24, size=(HEIGHT, WIDTH)) as writer:
            for _ in range(6):
                writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        (tmp_path / "sav.mp4").rename(tmp_path / name)
    command = ["sav-to-ytvis", str(tmp_path), str(tmp_path / "out")]
    assert main(command) == 0
    assert [line.split(", first")[0] for line in capsys.readouterr().err.splitlines()] == [
        "  1 videos, 1 frames, 1 tracks, 1 masks",
        "  masklet files of another kind or without a video, left out: 1",
        "  videos that are longer than their masklets, the rest left out: 1",
        "  masklets without a pixel, left out: 1",
        "  videos without masklets, left out: 1",
    ]
    with pytest.raises(OutputError, match="exists already"):
        main(command)
    (tmp_path / "above/sav_000").mkdir(parents=True)
    (tmp_path / "above/sav_000/x.mp4").touch()
    with pytest.raises(DataError, match=r"no videos .* in .*above, but in .*above/sav_000$"):
        main(["sav-to-ytvis", str(tmp_path / "above"), str(tmp_path / "new")])
    with pytest.raises(OutputError, match="is the folder of the videos"):
        main([*command[:2], str(tmp_path)])
    (tmp_path / "sav_1_manual.json").write_text("{}")
    with pytest.raises(DataError, match="does not hold masklets"):
        main([*command[:2], str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()


def test_commands(tmp_path, capsys):
    source = write_dataset(tmp_path)
    images, back, masks, again = (str(tmp_path / name) for name in ("i.json", "b.json", "masks", "m.json"))
    assert main(["ytvis-to-coco", str(source), images]) == 0
    assert main(["coco-to-ytvis", images, back]) == 0
    assert main(["ytvis-to-masks", str(source), masks]) == 0
    frames = str(tmp_path / "train/JPEGImages")
    assert main(["masks-to-ytvis", frames, masks, again, "--classes", f"{masks}/meta.json"]) == 0
    assert capsys.readouterr().out.split() == [images, back, masks, again]
    expected = masks_of(contents(), tmp_path)
    for path in (back, again):
        with open(path) as file:
            assert masks_of(json.load(file), tmp_path) == expected
    with pytest.raises(DataError, match="has no 'images'"):
        main(["coco-to-ytvis", str(source), back])
    with pytest.raises(DataError, match=r"is of images \(COCO\), ytvis-to-coco takes a file of videos"):
        main(["ytvis-to-coco", images, back])
    (tmp_path / "bad.json").write_text('{"images": [{"id": 1}]}')
    with pytest.raises(DataError, match=r"bad\.json is not a COCO file.*'width'"):
        main(["coco-to-ytvis", str(tmp_path / "bad.json"), back])
