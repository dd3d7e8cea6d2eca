import json
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from data.makers import contents, rectangle, write_dataset

from stmask.data import FramePairDataset, Motion, Source, VideoDataset, VISDataModule
from stmask.data.augment import ImageMover
from stmask.data.index import Categories
from stmask.data.mixing import relabelled
from stmask.errors import DataError
from stmask.ops.frames import FramePreprocessor

SIZE = FramePreprocessor(height=48, width=64)


def write_images(root, names=("Square", "disc", "bar")):
    """Four images with an object of each class, named otherwise than in the videos."""
    polygons = {number: [[5 * number, 5, 5 * number + 20, 5, 5 * number + 20, 30]] for number in (1, 2, 3)}
    document = {
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
        "images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in range(1, 5)],
        "annotations": [
            {"id": 10 * n + number, "image_id": n, "category_id": number, "segmentation": polygon, "iscrowd": 0}
            for n in range(1, 5)
            for number, polygon in polygons.items()
        ],
    }
    (root / "train").mkdir(parents=True)
    (root / "train.json").write_text(json.dumps(document))
    for n in range(1, 5):
        cv2.imwrite(
            str(root / f"train/{n}.png"), np.random.default_rng(n).integers(0, 255, (48, 64, 3)).astype(np.uint8)
        )


def test_an_image_moves_with_its_masks():
    mask = rectangle(20, 15, 24, 18)
    image = np.repeat(mask[..., None] * 255, 3, axis=2)
    move = ImageMover(Motion(shift=0.2, scale=0.3, rotate=30))
    for seed in range(10):
        moved, (shape, empty) = move(image, [mask, np.zeros_like(mask)], seed)
        inside = cv2.erode(shape, np.ones((3, 3), np.uint8)) > 0
        outside = cv2.dilate(shape, np.ones((3, 3), np.uint8)) == 0
        assert moved[inside].min() > 200
        assert moved[outside].max() < 130  # black, or the grey beyond the image
        assert not np.array_equal(shape, mask)
        assert not empty.any()


def test_pairs_of_a_still_image(tmp_path):
    write_images(tmp_path)
    images = VideoDataset.from_root(tmp_path, "train")
    still, moved = (FramePairDataset(images, SIZE, motion=motion) for motion in (None, Motion()))
    assert torch.equal(still[0].frames[0, 0], still[0].frames[0, 1])
    first, second = moved[0].targets[0]
    assert not torch.equal(moved[0].frames[0, 0], moved[0].frames[0, 1])
    assert first.track_ids.tolist() == second.track_ids.tolist()
    assert not torch.equal(first.masks, second.masks)
    assert torch.equal(moved[0].frames, moved[0].frames)


def test_videos_are_not_moved(tmp_path):
    write_dataset(tmp_path)
    videos = VideoDataset.from_root(tmp_path, "train")
    plain, moved = (FramePairDataset(videos, SIZE, motion=motion) for motion in (None, Motion()))
    assert all(torch.equal(plain[i].frames, moved[i].frames) for i in range(5))


def test_classes_are_matched_by_name(tmp_path):
    write_images(tmp_path, names=("Square", "disc", "long_bar"))
    images = VideoDataset.from_root(tmp_path, "train")
    target = Categories((7, 3, 5), ("square", "long bar", "beam"))
    assert relabelled(images, target, {}).instances(0, 0).labels.tolist() == [1, 2]
    assert relabelled(images, target, {"disc": "beam"}).instances(0, 0).labels.tolist() == [1, 3, 2]
    assert relabelled(images, target, {"Square": None}).instances(0, 0).labels.tolist() == [2]
    assert relabelled(images, target, {}).class_names == target.names
    assert len(images.instances(0, 0)) == 3  # the original is as it was
    with pytest.raises(DataError, match="no class 'cube'"):
        relabelled(images, target, {"disc": "cube"})
    with pytest.raises(DataError, match="no class in common"):
        relabelled(images, Categories((1,), ("cube",)), {})


def test_frames_with_other_classes_only_are_left_out(tmp_path):
    write_dataset(tmp_path)
    videos = VideoDataset.from_root(tmp_path, "train")
    bars = relabelled(videos, Categories((1,), ("bar",)), {})
    assert bars.annotated_in(0).tolist() == [1, 2, 3, 4, 5]  # there is none in frame 0


def make(tmp_path, **how):
    if not (tmp_path / "videos").exists():
        write_dataset(tmp_path / "videos", contents(videos=3))
        write_images(tmp_path / "images")
    source = Source(root=str(tmp_path / "images"), weight=0.5, motion=Motion())
    common = {"root": str(tmp_path / "videos"), "preprocessor": SIZE, "valid": None, "mix": [source]}
    return VISDataModule(**(common | {"num_workers": 0, "batch_size": 3} | how))


def test_a_mixture_keeps_its_proportions_and_identities_apart(tmp_path):
    pairs = make(tmp_path, samples_per_epoch=300).train_samples()
    counts, owners = Counter(), {}
    for i in range(300):
        clip = pairs[i]
        kind = "video" if clip.frames[0, 0, :, 47, 63].allclose(clip.frames[0, 0, :, 0, 0], atol=0.1) else "image"
        counts[kind] += 1
        for target in clip.flat_targets:
            assert set(target.labels.tolist()) <= {1, 2}
            for track in target.track_ids.tolist():
                assert owners.setdefault(track, kind) == kind
    assert counts["video"] == pytest.approx(200, abs=30)


def test_a_mixture_is_reproducible_with_any_number_of_workers(tmp_path):
    alone, helped = (list(make(tmp_path, num_workers=n).train_dataloader()) for n in (0, 2))
    assert len(alone) == 9  # 18 frames of the videos and half as many images
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(alone, helped, strict=True))


@pytest.mark.parametrize("wrong", [{"shift": 1}, {"scale": -0.1}, {"rotate": 90}, {"shear": -1}])
def test_wrong_motions_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Motion(**wrong)


def test_a_weight_must_be_positive():
    with pytest.raises(ValueError, match="weight"):
        Source(root="x", weight=0)
