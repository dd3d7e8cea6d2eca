"""Training on single images: clips of one frame, crowds, loaders, and what is not a set of images."""

import json
from itertools import chain

import cv2
import numpy as np
import pytest
import torch
from data.makers import HEIGHT, WIDTH, compressed, contents, rectangle, write_dataset
from data.test_datamodule import Recorder, fit, signature
from hydra.utils import instantiate

from stmask.config import compose
from stmask.data import Augmentation, ImageDataModule, ImageDataset, VideoDataset
from stmask.data.convert import to_images
from stmask.data.loading import EpochSampler
from stmask.errors import DataError
from stmask.ops.frames import FramePreprocessor

SAME_SIZE = FramePreprocessor(height=HEIGHT, width=WIDTH, divisor=1)


def document(images=5):
    """Each image has a square, all but the last a crowd region beside it; the last has the crowd alone."""
    square, crowd = rectangle(4, 8, 12, 16), rectangle(40, 10, 20, 30)
    annotations = [
        {"id": 2 * n, "image_id": n, "category_id": 7, "segmentation": compressed(square), "iscrowd": 0}
        for n in range(1, images)
    ] + [
        {"id": 2 * n + 1, "image_id": n, "category_id": 7, "segmentation": compressed(crowd), "iscrowd": 1}
        for n in range(1, images + 1)
    ]
    return {
        "categories": [{"id": 7, "name": "square"}],
        "images": [{"id": n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in range(1, images + 1)],
        "annotations": annotations,
    }


def write(root, content, split="train"):
    """COCO's own layout."""
    for folder in ("annotations", f"{split}2017"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
    for image in content["images"]:
        picture = np.random.default_rng(image["id"]).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        cv2.imwrite(str(root / f"{split}2017" / image["file_name"]), picture)
    return root


def make(root, **how):
    if not root.exists():
        write(root, document())
        write(root, document(3), split="val")
    return ImageDataModule(root=str(root), preprocessor=SAME_SIZE, **({"num_workers": 0, "batch_size": 2} | how))


def test_a_clip_is_one_image(tmp_path):
    images = ImageDataset(VideoDataset.from_root(write(tmp_path, document()), "train"), SAME_SIZE)
    assert images.references == 4  # the fifth has nothing to learn
    clip = images[0]
    assert clip.frames.shape == (1, 1, 3, HEIGHT, WIDTH)
    (target,) = clip.flat_targets
    assert target.labels.tolist() == [1]
    assert (target.boxes[0] * torch.tensor([WIDTH, HEIGHT] * 2)).tolist() == pytest.approx([4, 8, 16, 24])
    assert (target.crowds * torch.tensor([WIDTH, HEIGHT] * 2)).tolist() == [[40, 10, 60, 40]]
    assert target.to("cpu").crowds.shape == (1, 4)


def test_crowds_move_with_the_image(tmp_path):
    dataset = VideoDataset.from_root(write(tmp_path, document()), "train")
    flipped = ImageDataset(dataset, SAME_SIZE, augmentation=Augmentation(flip=1.0, scale=(1, 1), colour=0))[0]
    (target,) = flipped.flat_targets
    assert (target.crowds[0] * torch.tensor([WIDTH, HEIGHT] * 2)).tolist() == pytest.approx([4, 10, 24, 40])
    assert target.boxes[0, 0] * WIDTH == pytest.approx(48)
    cut = ImageDataset(dataset, SAME_SIZE, augmentation=Augmentation(scale=(3, 4)), samples_per_epoch=40)
    assert {len(cut[i].flat_targets[0].crowds) for i in range(40)} == {0, 1}


def test_batches_are_reproducible_and_resumable(tmp_path):
    whole, first, rest = Recorder(), Recorder(stop_after=3), Recorder()
    fit(tmp_path, make(tmp_path / "d"), whole)
    assert [len(batch) for _, batch in whole.seen] == [2] * 6  # three epochs of four images
    assert whole.videos == [(1, 1), (2, 1), (3, 1)] * 3
    with pytest.raises(InterruptedError):
        fit(tmp_path, make(tmp_path / "d", num_workers=1), first)
    fit(tmp_path, make(tmp_path / "d"), rest, ckpt_path=tmp_path / "mid.ckpt")
    assert first.seen + rest.seen == whole.seen


def test_processes_share_an_epoch(tmp_path):
    samples = make(tmp_path / "d", samples_per_epoch=7).train_samples()
    assert len(samples) == 8
    shares = [list(EpochSampler(samples, rank=rank, world_size=2)) for rank in range(2)]
    assert sorted(chain(*shares)) == [(0, i) for i in range(8)]
    assert [len(signature(batch)) for batch in make(tmp_path / "d").train_dataloader()] == [2, 2]


def test_files_of_videos_are_refused_and_converted_ones_taken(tmp_path):
    write_dataset(tmp_path / "d", contents(videos=2, frames=3))
    data = make(tmp_path / "d", valid=None)
    with pytest.raises(DataError, match=r"train\.json holds 2 videos of 6 frames, not images: .*ytvis-to-coco"):
        data.setup("fit")
    (tmp_path / "d/train.json").write_text(json.dumps(to_images(contents(videos=2, frames=3))))
    data = make(tmp_path / "d", valid=None)
    data.setup("fit")
    assert data.stream.references == 6
    assert data.class_names == ("square", "bar")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.update(annotations=[{"id": 1, "image_id": 1, "caption": "a square"}]),
            r"annotations\[0\] needs 'id', 'image_id', 'category_id' and 'segmentation' \(is it a COCO instances file",
        ),
        (lambda d: d.pop("images"), "not a YouTube-VIS or COCO file, it has no 'videos'"),
        (lambda d: d.pop("categories"), "not a YouTube-VIS or COCO file, it has no 'categories'"),
        (lambda d: d.pop("annotations"), "has no annotations, it cannot be trained on"),
        (lambda d: d.update(annotations=d["annotations"][-1:]), "has no annotated frame"),
    ],
)
def test_what_is_no_instances_file_is_named(tmp_path, change, message):
    content = document()
    write(tmp_path / "d", content)
    change(content)
    (tmp_path / "d/annotations/instances_train2017.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"instances_train2017\.json.*{message}"):
        make(tmp_path / "d", valid=None).setup("fit")


def test_other_classes_and_missing_images_are_named(tmp_path):
    data = make(tmp_path / "d")
    other = document(3)
    other["categories"].append({"id": 9, "name": "disc"})
    write(tmp_path / "d", other, split="val")
    with pytest.raises(DataError, match="do not have the same categories"):
        data.setup("fit")
    (tmp_path / "d/train2017/2.png").unlink()
    with pytest.raises(DataError, match=r"no such frame: .*2\.png"):
        list(make(tmp_path / "d").train_dataloader())
    kept = list(make(tmp_path / "d", on_error="skip").train_dataloader())
    assert 2 not in {int(n) for batch in kept for n in batch.video_ids}


def test_the_configuration_makes_a_module():
    config = compose("train", ["data=coco_images", "data.root=/nowhere"]).data
    assert set(config) < set(compose("train", ["data=custom"], check=False).data)
    data = instantiate(config, _convert_="all")
    assert isinstance(data, ImageDataModule)
    assert data.sampling.preprocessor.padded_size == (550, 550)
    with pytest.raises(DataError, match="/nowhere"):
        data.setup("fit")
