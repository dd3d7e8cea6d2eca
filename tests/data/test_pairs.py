import logging
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from data.makers import annotation, compressed, contents, rectangle, write_dataset
from torch.utils.data import DataLoader

from stmask.data import (
    NO_AUGMENTATION,
    Augmentation,
    ClipAugmenter,
    FramePairDataset,
    Motion,
    VideoDataset,
    collate_pairs,
)
from stmask.errors import DataError
from stmask.ops.boxes import from_masks
from stmask.ops.frames import FramePreprocessor

SAME_SIZE = FramePreprocessor(height=48, width=64)


def make(tmp_path, document=None, *, preprocessor=SAME_SIZE, **how):
    write_dataset(tmp_path, document)
    return FramePairDataset(VideoDataset.from_root(tmp_path, "train"), preprocessor, **how)


def equal(a, b):
    return torch.equal(a.frames, b.frames) and all(
        torch.equal(x.boxes, y.boxes) and torch.equal(x.masks, y.masks) and torch.equal(x.track_ids, y.track_ids)
        for x, y in zip(a.flat_targets, b.flat_targets, strict=True)
    )


def test_a_clip_without_augmentation_is_the_file_itself(tmp_path):
    pairs = make(tmp_path)
    clip = pairs[0]
    assert clip.frames.shape == (1, 2, 3, 64, 64)
    assert clip.image_sizes.tolist() == [[[48, 64], [48, 64]]]
    video = int(clip.video_ids[0]) - 1
    for t in range(2):
        position = int(clip.frame_indices[0, t])
        target = clip.targets[0][t]
        truth = pairs.dataset.instances(video, position)
        assert target.labels.tolist() == truth.labels.tolist()
        assert target.track_ids.tolist() == truth.track_ids.tolist()
        assert np.array_equal(target.masks[:, :48].numpy(), np.stack(truth.masks))
        assert not target.masks[:, 48:].any()
        x = 4 + 5 * position
        assert (target.boxes[0] * 64).tolist() == pytest.approx([x, 8, x + 12, 20])
        assert torch.equal(clip.frames[0, t], SAME_SIZE(pairs.dataset.read_frame(video, position)))


def test_the_other_frame_is_near_and_never_the_same(tmp_path):
    pairs = make(tmp_path, contents(videos=2, frames=12), gap=3, samples_per_epoch=200)
    distances = Counter()
    for i in range(200):
        first, second = pairs[i].frame_indices[0].tolist()
        distances[second - first] += 1
    assert set(distances) == {-3, -2, -1, 1, 2, 3}


def test_the_only_annotated_frame_is_paired_with_itself(tmp_path):
    document = contents(videos=1, frames=3)
    document["annotations"] = [annotation(1, 1, 7, [None, compressed(rectangle(0, 0, 9, 9)), None])]
    clip = make(tmp_path, document)[0]
    assert clip.frame_indices.tolist() == [[1, 1]]


def test_a_far_frame_is_taken_where_none_is_near(tmp_path):
    document = contents(videos=1, frames=9)
    mask = compressed(rectangle(0, 0, 9, 9))
    document["annotations"] = [annotation(1, 1, 7, [mask] + [None] * 6 + [mask, mask])]
    pairs = make(tmp_path, document, gap=2)
    assert len(pairs) == 3
    for i in range(3):
        first, second = pairs[i].frame_indices[0].tolist()
        assert (first, second) in {(0, 7), (7, 8), (8, 7)}


def test_samples_depend_on_seed_epoch_and_index_alone(tmp_path):
    how = {"augmentation": Augmentation(colour=1.0, aspect=1.2)}
    first, second = make(tmp_path / "a", **how), make(tmp_path / "b", **how)
    first.set_epoch(3)
    _ = [first[i] for i in (5, 0)]  # what was read before does not matter
    assert equal(first[4], second[3, 4])
    assert not equal(first[4], second[2, 4])
    assert not equal(first[4], make(tmp_path / "c", seed=1, **how)[3, 4])


def test_every_annotated_frame_comes_up_once_per_pass(tmp_path):
    pairs = make(tmp_path, samples_per_epoch=6)
    assert pairs.references == 18
    for lap in range(2):
        clips = [pairs.draw(18 * lap + i) for i in range(18)]
        seen = [(int(clip.video_ids[0]), int(clip.frame_indices[0, 0])) for clip in clips]
        assert len(set(seen)) == 18


def test_balanced_over_videos(tmp_path):
    document = contents(videos=3, frames=6)
    mask = compressed(rectangle(0, 0, 9, 9))
    document["annotations"] = [annotation(1, 1, 7, [mask] * 6), annotation(2, 3, 7, [mask] + [None] * 5)]
    pairs = make(tmp_path, document, balance="videos", samples_per_epoch=40)
    assert pairs.references == 2
    assert Counter(int(pairs[i].video_ids[0]) for i in range(40)) == {1: 20, 3: 20}


def test_the_same_flip_for_both_frames_and_their_masks(tmp_path):
    plain = make(tmp_path / "a", augmentation=NO_AUGMENTATION)[2]
    flipped = make(tmp_path / "b", augmentation=Augmentation(flip=1.0, scale=(1, 1), colour=0.0))[2]
    assert plain.frame_indices.tolist() == flipped.frame_indices.tolist()
    assert torch.equal(plain.frames.flip(-1)[..., :48, :], flipped.frames[..., :48, :])
    for before, after in zip(plain.flat_targets, flipped.flat_targets, strict=True):
        assert torch.equal(before.masks.flip(-1), after.masks)
        assert torch.equal(before.track_ids, after.track_ids)


def test_objects_that_left_are_dropped_and_boxes_fit_the_masks(tmp_path):
    pairs = make(tmp_path, augmentation=Augmentation(scale=(2.0, 3.0)), samples_per_epoch=60)
    counts = Counter()
    for i in range(60):
        for target in pairs[i].flat_targets:
            counts[len(target)] += 1
            assert target.masks.flatten(1).any(1).all()
            assert torch.equal(target.boxes, from_masks(target.masks))
            assert len(target.labels) == len(target.track_ids) == len(target)
    assert counts[1] > 10
    assert counts[2] > 10


def test_masks_stay_on_their_objects(tmp_path):
    """The crop moves pixels and masks alike: an image drawn from its own mask agrees with it after augmentation."""
    mask = np.zeros((90, 160), np.uint8)
    mask[30:60, 40:100] = 1
    image = np.repeat(mask[..., None] * 255, 3, axis=2)
    augment = ClipAugmenter(Augmentation(scale=(1.0, 2.0), aspect=1.3, colour=0.0), height=64, width=96)
    for seed in range(20):
        images, masks, _ = augment([image, image], [[mask], [mask, mask]], seed)
        assert np.array_equal(images[0], images[1])
        assert [len(m) for m in masks] == [1, 2]
        disagree = (images[0][..., 0] > 127) != masks[0][0].astype(bool)
        assert disagree.mean() < 0.02


def test_what_a_crop_leaves_too_little_of_is_told():
    mask = np.zeros((40, 40), np.uint8)
    mask[8:28, 10:30] = 1  # the window has half the frame's sides and is not resized
    how = Augmentation(scale=(2.0, 2.0), colour=0.0, min_visible=0.61)
    augment, shares = ClipAugmenter(how, height=20, width=20), []
    for seed in range(40):
        _, ((moved,),), ((enough,),) = augment([np.zeros((40, 40, 3), np.uint8)], [[mask]], seed)
        shares.append(moved.sum() / mask.sum())
        assert enough == (shares[-1] >= 0.61)
    assert min(shares) < 0.4 < 0.8 < max(shares)


def test_slivers_are_neither_learned_nor_background(tmp_path):
    how = {"flip": 0.0, "scale": (2.0, 2.0), "colour": 0.0, "min_visible": 0.6}
    pairs = make(tmp_path, augmentation=Augmentation(**how), samples_per_epoch=60)
    ignored = [len(target.crowds) for i in range(60) for target in pairs[i].flat_targets]
    assert sum(ignored) > 5


def test_colours_together_or_separately():
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    how = {"flip": 0.0, "scale": (1.0, 1.0), "colour": 1.0, "hue": 0.1}
    for separate in (False, True):
        augment = ClipAugmenter(Augmentation(**how, separate_colour=separate), height=20, width=30)
        (first, second), *_ = augment([image, image], [[], []], 7)
        assert np.array_equal(first, second) is not separate
        assert not np.array_equal(first, image)


def test_frames_without_objects_are_fine(tmp_path):
    document = contents(videos=1, frames=2)
    document["annotations"][0]["segmentations"] = [compressed(rectangle(8, 8, 2, 2))] * 2
    document["annotations"] = document["annotations"][:1]
    pairs = make(tmp_path, document, augmentation=Augmentation(scale=(3.0, 3.0)))
    assert {len(target) for epoch in range(25) for target in pairs[epoch, 0].flat_targets} == {0, 1}


def test_collated_clips_keep_their_order(tmp_path):
    pairs = make(tmp_path)
    clips = [pairs[i] for i in range(3)]
    batch = collate_pairs(clips)
    assert len(batch) == 3
    assert batch.frames.shape == (3, 2, 3, 64, 64)
    for i, clip in enumerate(clips):
        assert torch.equal(batch.frames[i], clip.frames[0])
        assert batch.targets[i] is clip.targets[0]
        assert batch.video_ids[i] == clip.video_ids[0]


def test_unreadable_frames_are_skipped_on_request(tmp_path, caplog):
    pairs = make(tmp_path, on_error="skip")
    pairs.dataset.frame_path(0, 0).unlink()
    with caplog.at_level(logging.WARNING):
        clips = [pairs[i] for i in range(18)]
    assert all((int(c.video_ids[0]), t) != (1, 0) for c in clips for t in c.frame_indices[0].tolist())
    assert pairs.skipped == len(caplog.records) > 0
    assert "v1/00000.jpg" in caplog.text
    pairs.on_error = "raise"
    with pytest.raises(DataError, match=r"v1/00000\.jpg; data\.on_error=skip goes on without it"):
        _ = [pairs[i] for i in range(18)]


def test_samples_that_workers_skip_are_counted(tmp_path):
    pairs = make(tmp_path, on_error="skip")
    for t in range(6):
        pairs.dataset.frame_path(0, t).unlink()
    assert len(list(DataLoader(pairs, batch_size=None, num_workers=2))) == 18
    assert pairs.skipped >= 6


def test_skipping_stops_where_nothing_can_be_read(tmp_path):
    pairs = make(tmp_path, on_error="skip")
    for video in range(3):
        for t in range(6):
            pairs.dataset.frame_path(video, t).unlink()
    with pytest.raises(DataError, match="20 samples in a row"):
        pairs[0]


@pytest.mark.parametrize("annotations", [None, []])
def test_nothing_to_learn_from(tmp_path, annotations):
    document = contents()
    document["annotations"] = annotations
    with pytest.raises(DataError, match="annotat"):
        make(tmp_path, document)


@pytest.mark.parametrize(
    "wrong", [{"gap": 0}, {"balance": "classes"}, {"on_error": "ignore"}, {"samples_per_epoch": 0}]
)
def test_wrong_choices_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make(tmp_path, **wrong)


@pytest.mark.parametrize(
    "wrong", [{"flip": 2}, {"colour": -1}, {"scale": (0.5, 1)}, {"scale": (2, 1)}, {"aspect": 0.5}, {"hue": 0.7}]
)
def test_wrong_strengths_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augmentation(**wrong)


def test_out_of_range(tmp_path):
    pairs = make(tmp_path)
    with pytest.raises(IndexError):
        pairs[len(pairs)]


def test_pickles_for_spawned_workers(tmp_path):
    pairs = make(tmp_path, augmentation=Augmentation(colour=1.0), motion=Motion())
    first = pairs[3]
    assert equal(first, pickle.loads(pickle.dumps(pairs))[3])
