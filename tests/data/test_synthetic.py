from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from stmask.commands import data as data_command
from stmask.data.synthetic import (
    PRESETS,
    SHAPES,
    SyntheticConfig,
    dataset,
    render_video,
    write_dataset,
)
from stmask.data.synthetic.shapes import coverage, transform
from stmask.errors import ConfigError, OutputError

# Fewer and smaller frames than anyone would train on, so that the tests are quick.
SMALL: dict[str, Any] = {"height": 48, "width": 80, "frames": 5}


def small(preset: str = "medium", **changes: Any) -> SyntheticConfig:
    return SyntheticConfig.preset(preset, **{**SMALL, **changes})


def still(**changes: Any) -> SyntheticConfig:
    """Nothing moves, nothing blurs, no noise."""
    calm = dict.fromkeys(("rotation", "scaling", "leaving", "camera_pan", "camera_zoom", "camera_roll"), 0.0)
    return small(**{**calm, "speed": (0.0, 0.0), "shutter": 0.0, "noise": 0.0, **changes})


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write(out: Path, config: SyntheticConfig | None = None, **options: Any) -> Path:
    return write_dataset(out, config or small(), **{"videos": 2, "valid_videos": 1, "seed": 5, **options})


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("bar", 2.3 * 0.52),
        ("disc", np.pi * 0.81),
        ("square", 1.64**2),
        ("ring", np.pi * (0.95**2 - 0.5**2)),
        ("cross", 2 * 1.96 * 0.6 - 0.36),
    ],
)
def test_coverage_has_the_area_of_the_shape(name: str, area: float) -> None:
    pose = np.array([[20, 0, 32.3], [0, 20, 31.8]], dtype=np.float32)
    covered = coverage(transform(SHAPES[name](), pose), 64, 64)
    assert covered is not None
    assert covered[0].sum() == pytest.approx(area * 400, rel=0.03)


@pytest.mark.parametrize("name", SHAPES)
def test_outlines_fill_most_of_their_square_and_stay_about_inside(name: str) -> None:
    points = np.concatenate(SHAPES[name]())
    assert np.abs(points).max() <= 1.2
    assert np.ptp(points, axis=0).max() >= 1.5


def test_coverage_is_anti_aliased_and_clipped_to_the_frame() -> None:
    # The square spans -1.4 .. 2.6 on both axes: two full pixels, and 0.6 of the third.
    pose = np.array([[2 / 0.82, 0, 0.6], [0, 2 / 0.82, 0.6]], dtype=np.float32)
    covered = coverage(transform(SHAPES["square"](), pose), 48, 80)
    assert covered is not None
    alpha, window = covered
    assert window == (slice(0, 3), slice(0, 3))
    np.testing.assert_allclose(alpha, np.outer([1, 1, 0.6], [1, 1, 0.6]), atol=0.25)  # one sample of four
    assert 0 < alpha[2, 2] < alpha[1, 2] < 1


def test_coverage_outside_the_frame_is_none() -> None:
    pose = np.array([[5, 0, 200], [0, 5, 20]], dtype=np.float32)
    assert coverage(transform(SHAPES["disc"](), pose), 48, 80) is None


# ---------------------------------------------------------------- videos


@pytest.mark.parametrize("preset", PRESETS)
def test_masks_are_disjoint_and_objects_within_the_bounds(preset: str) -> None:
    config = small(preset)
    for index in range(6):
        video = render_video(config, seed=1, split="train", index=index)
        n = len(video.labels)
        assert config.objects[0] <= n <= config.objects[1]
        assert video.frames.shape == (5, 48, 80, 3)
        assert video.masks.shape == (n, 5, 48, 80)
        assert video.masks.sum(axis=0).max() <= 1
        assert video.masks.any()
        assert all(1 <= label <= len(SHAPES) for label in video.labels)


def test_masks_lie_where_the_objects_are_drawn() -> None:
    plain = still(objects=(2, 2), background_contrast=0.0, object_contrast=0.0, colour_distance=0.6, crossing=1.0)
    for index in range(5):
        video = render_video(plain, seed=2, split="train", index=index)
        frame = video.frames[0].astype(int)
        background = frame[~video.masks[:, 0].any(axis=0)]
        ground = np.median(background, axis=0)
        # Edges blend over less than a pixel, so only few pixels outside a mask may differ from the background.
        assert (np.abs(background - ground).max(axis=1) > 60).mean() < 0.02
        for mask in video.masks[:, 0]:
            inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            if inner.any():
                assert frame[inner].std(axis=0).max() < 4  # one colour: whatever is in front has been taken away


def test_occluded_pixels_belong_to_the_front_object() -> None:
    config = still(objects=(2, 2), crossing=1.0, classes=("disc",), diameter=(0.8, 0.8), stretch=0.0)
    areas = [render_video(config, seed=0, split="train", index=i).masks[:, 0].sum(axis=(1, 2)) for i in range(8)]
    behind, front = np.array(areas).T
    assert (behind < 0.1 * front).all()  # sent to the same place, without moving


def test_still_scene_gives_equal_frames() -> None:
    video = render_video(still(), seed=0, split="train", index=0)
    assert (video.frames == video.frames[:1]).all()
    assert (video.masks == video.masks[:, :1]).all()


@pytest.mark.parametrize(
    "knob",
    [
        {"speed": (0.05, 0.05)},
        {"rotation": 10.0},
        {"scaling": 0.4},
        {"leaving": 1.0},
        {"camera_pan": 0.05},
        {"camera_zoom": 0.3},
        {"camera_roll": 20.0},
    ],
    ids=lambda knob: next(iter(knob)),
)
def test_each_knob_of_motion_moves_something(knob: dict[str, Any]) -> None:
    video = render_video(still(classes=("cross",), **knob), seed=3, split="train", index=0)
    assert (video.masks[:, 0] != video.masks[:, -1]).any()


def test_blur_changes_the_image_and_not_the_masks() -> None:
    moving = {"speed": (0.1, 0.1), "rotation": 0.0}
    sharp = render_video(still(**moving), seed=4, split="train", index=1)
    blurred = render_video(still(**moving, shutter=1.0), seed=4, split="train", index=1)
    assert (sharp.masks == blurred.masks).all()
    assert (sharp.frames != blurred.frames).any()


def test_leaving_objects_are_absent_for_a_while() -> None:
    config = small(frames=20, leaving=1.0, objects=(1, 1), camera_pan=0.0)
    absent = [~render_video(config, seed=0, split="train", index=i).masks.any(axis=(2, 3))[0] for i in range(6)]
    assert all(missing.any() and not missing.all() for missing in absent)


def test_classes_colours_and_textures_are_independent() -> None:
    """With another list of classes, everything but the outlines stays: same background, same centre of a big object."""
    discs = render_video(still(classes=("disc",), objects=(1, 1)), seed=7, split="train", index=0)
    squares = render_video(still(classes=("square",), objects=(1, 1)), seed=7, split="train", index=0)
    both = discs.masks[0] & squares.masks[0]
    inner = np.stack([cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) for mask in both]).astype(bool)
    assert inner.any()
    # Their windows in the frame differ, and with them the last bit of the texture's interpolation.
    assert np.abs(discs.frames[inner].astype(int) - squares.frames[inner]).mean() < 0.5


# ---------------------------------------------------------------- on disk


def test_same_seed_same_bytes_and_videos_do_not_depend_on_their_number(tmp_path: Path) -> None:
    first = digest(write(tmp_path / "a"))
    assert first == digest(write(tmp_path / "b"))
    assert first != digest(write(tmp_path / "c", seed=6))
    more = digest(write(tmp_path / "d", videos=3, valid_videos=2))
    frames = {name: value for name, value in first.items() if name.endswith(".jpg")}
    assert frames.items() < more.items()
    assert len(frames) == 15


def test_written_annotations_are_the_rendered_masks(tmp_path: Path) -> None:
    config = small("hard", noise=2.0)
    out = write(tmp_path / "set", config, videos=3)
    content = json.loads((out / "train.json").read_text())
    assert [c["name"] for c in content["categories"]] == list(config.classes)
    assert [v["id"] for v in content["videos"]] == [1, 2, 3]
    assert len({a["id"] for a in content["annotations"]}) == len(content["annotations"])
    for index, video in enumerate(content["videos"]):
        assert (video["height"], video["width"], video["length"]) == (48, 80, 5)
        rendered = render_video(config, seed=5, split="train", index=index)
        for t, name in enumerate(video["file_names"]):
            image = cv2.imread(str(out / "train" / "JPEGImages" / name))[..., ::-1].astype(int)
            assert np.abs(image - rendered.frames[t]).mean() < 8
        shown = [(label, m) for label, m in zip(rendered.labels, rendered.masks, strict=True) if m.any()]
        annotations = [a for a in content["annotations"] if a["video_id"] == video["id"]]
        assert [a["category_id"] for a in annotations] == [label for label, _ in shown]
        for annotation, (_, masks) in zip(annotations, shown, strict=True):
            assert len(annotation["segmentations"]) == len(annotation["bboxes"]) == len(annotation["areas"]) == 5
            for t, mask in enumerate(masks):
                rle, box, area = (annotation[key][t] for key in ("segmentations", "bboxes", "areas"))
                if not mask.any():
                    assert rle is box is area is None
                    continue
                assert isinstance(rle["counts"], str)
                assert (coco_mask.decode(rle).astype(bool) == mask).all()
                assert area == mask.sum()
                ys, xs = np.nonzero(mask)
                assert box == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]


def test_a_folder_that_is_not_empty_is_refused_and_only_our_own_is_overwritten(tmp_path: Path) -> None:
    out = write(tmp_path / "set")
    before = digest(out)
    with pytest.raises(OutputError, match=r"exists already.*--overwrite"):
        write(out, seed=9)
    assert digest(out) == before
    write(out, seed=9, overwrite=True)
    assert digest(out).keys() == before.keys()
    assert digest(out) != before
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(OutputError, match="was not written by"):
        write(photos, overwrite=True)
    assert (photos / "cat.jpg").read_bytes() == b"meow"


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert (write(tmp_path / "set") / "valid.json").is_file()


def test_a_failed_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write(tmp_path / "set")
    before = digest(tmp_path)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "new", on_video=interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(out, overwrite=True, on_video=interrupted)
    assert digest(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    monkeypatch.setattr(dataset, "_jpeg", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match=r"new.*No space left"):
        write(tmp_path / "new")
    assert digest(tmp_path) == before


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/set"):
        write(tmp_path / "file" / "set")
    with pytest.raises(OutputError, match="exists already"):
        write(tmp_path / "file")


# ---------------------------------------------------------------- configuration and command


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("objects", (0, 2)),
        ("objects", (3, 2)),
        ("objects", (1, 7)),
        ("classes", ("disc", "blob")),
        ("classes", ("disc", "disc")),
        ("classes", ()),
        ("diameter", (0.0, 0.5)),
        ("frames", 0),
        ("height", 8),
        ("shutter", 4.5),
        ("crossing", -0.1),
        ("noise", float("nan")),
        ("jpeg_quality", 0),
    ],
)
def test_bad_knobs_are_named(knob: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=knob):
        SyntheticConfig.preset("easy", **{knob: value})


def test_unknown_preset_and_knob_are_named() -> None:
    with pytest.raises(ConfigError, match=r"'brutal'.*easy, medium, hard, bench"):
        SyntheticConfig.preset("brutal")
    with pytest.raises(ConfigError, match="'colours'"):
        SyntheticConfig.preset("easy", colours=3)


def test_command_writes_a_set_with_its_knobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    arguments = "--videos 1 --valid-videos 1 --size 48x80 --frames 3 --classes star,disc --objects 2 --speed 0.01,0.02"
    assert data_command.main(["synthesize", str(out), *arguments.split(), "--preset", "hard"]) == 0
    assert str(out) in capsys.readouterr().out
    content = json.loads((out / "valid.json").read_text())
    config = content["info"]["config"]
    assert (config["height"], config["width"], config["objects"]) == (48, 80, [2, 2])
    assert (config["speed"], config["noise"]) == ([0.01, 0.02], 8.0)
    assert content["categories"] == [{"id": 1, "name": "star"}, {"id": 2, "name": "disc"}]


def test_command_lists_its_verbs_and_names_a_wrong_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert data_command.main([]) == 0
    assert "synthesize" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="data bake"):
        data_command.main(["bake"])


@pytest.mark.parametrize("arguments", ["--size 48", "--objects a,b", "--preset brutal", "--colour 3"])
def test_command_refuses_bad_options(arguments: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"; see stmask data synthesize --help$"):
        data_command.main(["synthesize", str(tmp_path / "set"), *arguments.split()])
    assert not (tmp_path / "set").exists()


def test_command_refuses_negative_counts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--valid-videos"):
        data_command.main(["synthesize", str(tmp_path / "set"), "--valid-videos", "-1"])
