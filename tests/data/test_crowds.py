"""Nothing is learnt inside of crowd regions and of objects whose class is not the target's, however clips are made."""

import pytest
import torch
from data.makers import HEIGHT, WIDTH, annotation, compressed, contents, rectangle, write_dataset

from stmask.data import Augmentation, FramePairDataset, ImageDataset, Motion, VideoDataset, VISDataModule
from stmask.data.index import Categories
from stmask.data.mixing import Source, relabelled
from stmask.ops.frames import FramePreprocessor
from stmask.ops.matching import BACKGROUND, NEUTRAL, AnchorMatcher

SIZE = FramePreprocessor(height=HEIGHT, width=WIDTH, divisor=1)
PIXELS = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
FLIP = Augmentation(flip=1.0, scale=(1, 1), colour=0)


def crowded(frames=4):
    """A square of class 7 at the left; at the right a crowd of this class that moves down by two pixels a frame."""
    document = contents(videos=1, frames=frames)
    square = [compressed(rectangle(4, 8, 12, 16))] * frames
    crowd = [compressed(rectangle(40, 4 + 2 * t, 20, 30)) for t in range(frames)]
    document["annotations"] = [annotation(1, 1, 7, square), annotation(2, 1, 7, crowd, iscrowd=1)]
    return document


def dataset_of(tmp_path, document):
    write_dataset(tmp_path, document)
    return VideoDataset.from_root(tmp_path, "train")


def learnt(target):
    """What anchors learn: one in the region at the right, one in the empty middle, one on the object at the left."""
    anchors = torch.tensor([[50, 24, 14, 14], [28, 24, 14, 14], [10, 16, 12, 16]]) / PIXELS
    how = {"labels": target.labels, "track_ids": target.track_ids, "class_logits": torch.zeros(3, 3)}
    matches = AnchorMatcher(quality=False)(anchors, target.boxes, crowds=target.crowds, **how)
    return matches.labels.tolist()


@pytest.mark.parametrize("kind", [ImageDataset, FramePairDataset])
def test_every_frame_of_a_clip_carries_its_crowds(tmp_path, kind):
    clip = kind(dataset_of(tmp_path, crowded()), SIZE)[0]
    for position, target in zip(clip.frame_indices[0].tolist(), clip.flat_targets, strict=True):
        assert target.labels.tolist() == [1]
        top = 4 + 2 * position
        assert (target.crowds * PIXELS).tolist() == [pytest.approx([40, top, 60, top + 30])]
        assert learnt(target) == [NEUTRAL, BACKGROUND, 1]


def test_crowds_are_flipped_with_the_frames(tmp_path):
    clip = FramePairDataset(dataset_of(tmp_path, crowded()), SIZE, augmentation=FLIP)[0]
    assert [(t.crowds * PIXELS)[0, [0, 2]].tolist() for t in clip.flat_targets] == [pytest.approx([4, 24])] * 2


def test_crowds_move_with_a_still_image(tmp_path):
    clip = FramePairDataset(dataset_of(tmp_path, crowded(frames=1)), SIZE, motion=Motion(scale=0, rotate=0, shear=0))[0]
    still, moved = clip.flat_targets
    assert len(moved.crowds) == len(moved) == 1
    # where nothing leaves the frame, the region moves as far as the object
    shift = (moved.crowds - still.crowds)[0] * PIXELS
    assert shift[:2].abs().max() > 0.5
    assert torch.allclose(shift[:2], ((moved.boxes - still.boxes)[0] * PIXELS)[:2], atol=1)


def test_objects_of_classes_that_the_target_lacks_are_regions_to_ignore(tmp_path):
    document = contents(videos=1, frames=4)
    both = [rectangle(4, 8, 12, 16), rectangle(40, 4, 20, 30)]
    document["annotations"] = [annotation(n, 1, c, [compressed(m)] * 4) for n, c, m in zip((1, 2), (7, 3), both)]
    source = dataset_of(tmp_path / "source", document)
    for names, aliases in ((("square",), {}), (("square", "bar"), {"bar": None})):
        categories = Categories(tuple(range(1, len(names) + 1)), names)
        for target in FramePairDataset(relabelled(source, categories, aliases), SIZE)[0].flat_targets:
            assert target.labels.tolist() == [1]
            assert learnt(target) == [NEUTRAL, BACKGROUND, 1]
    (target, _) = FramePairDataset(source, SIZE)[0].flat_targets
    assert target.labels.tolist() == [1, 2]
    assert len(target.crowds) == 0


def test_a_mixture_ignores_what_it_does_not_learn(tmp_path):
    write_dataset(tmp_path / "main", contents(videos=1))
    other = crowded()
    other["categories"][1]["name"] = "disc"
    other["annotations"][1] |= {"category_id": 3, "iscrowd": 0}
    write_dataset(tmp_path / "other", other)
    mix = [Source(root=str(tmp_path / "other"))]
    data = VISDataModule(root=str(tmp_path / "main"), preprocessor=SIZE, valid=None, mix=mix, num_workers=0)
    clips = [data.train_samples().draw(i) for i in range(12)]
    regions = [[len(target.crowds) for target in clip.flat_targets] for clip in clips]
    assert sorted({tuple(counts) for counts in regions}) == [(0, 0), (1, 1)]


def test_a_mixture_carries_the_crowds_of_each_of_its_datasets(tmp_path):
    """Videos whose crowd begins at x = 40, images whose crowd begins at x = 44."""
    write_dataset(tmp_path / "main", crowded())
    images = crowded(frames=1)
    images["annotations"][1]["segmentations"] = [compressed(rectangle(44, 4, 20, 30))]
    write_dataset(tmp_path / "other", images)
    mix = [Source(root=str(tmp_path / "other"))]
    data = VISDataModule(root=str(tmp_path / "main"), preprocessor=SIZE, valid=None, mix=mix, num_workers=0)
    found = set()
    for position in range(12):
        for target in data.stream.draw(position).flat_targets:
            (crowd,) = (target.crowds * PIXELS).tolist()
            assert learnt(target)[0] == NEUTRAL
            found.add(round(crowd[0]))
    assert found == {40, 44}


def test_a_batch_moves_as_a_whole(tmp_path):
    clip = FramePairDataset(dataset_of(tmp_path, crowded()), SIZE)[0].to("meta")
    tensors = [clip.frames, clip.image_sizes, clip.video_ids, clip.frame_indices]
    tensors += [getattr(t, name) for t in clip.flat_targets for name in t.__dataclass_fields__]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
