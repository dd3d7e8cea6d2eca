from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from stmask.data import Augmentation, FramePairDataset, VideoDataset
from stmask.ops.frames import FramePreprocessor
from stmask.plots import pairs, style


def captions(figure: Figure, axis: int) -> set[str]:
    return {text.get_text() for text in figure.axes[axis].texts}


def test_videos_show_the_same_identities_in_all_their_frames(dataset: VideoDataset) -> None:
    figure = pairs.videos(dataset, count=2, frames=3)
    assert len(figure.axes) == 6
    assert captions(figure, 0) == captions(figure, 2) != set()
    assert figure.axes[3].get_ylabel() == "video 3"


def test_pairs_and_their_distances(dataset: VideoDataset, preprocessor: FramePreprocessor) -> None:
    source = FramePairDataset(dataset, preprocessor, gap=2)
    clip = source.draw(4)
    figure = pairs.pairs(source, [4, 5])
    first = int(clip.frame_indices[0, 0])
    assert figure.axes[0].get_title() == f"video {int(clip.video_ids[0])}, frame {first}"
    assert captions(figure, 0) == {
        f"{track} {dataset.class_names[label - 1]}"
        for track, label in zip(clip.targets[0][0].track_ids.tolist(), clip.targets[0][0].labels.tolist())
    }
    bars = pairs.distances(source, samples=20).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == 20
    assert {round(bar.get_x() + bar.get_width() / 2) for bar in bars} <= {-2, -1, 1, 2}


def test_augmentations_of_one_pair(dataset: VideoDataset) -> None:
    flipped = Augmentation(flip=1.0, scale=(1.0, 1.0), colour=0.0)
    figure = pairs.augmentations(dataset, flipped, video=0, frames=(0, 2), size=(64, 96), seeds=(1,))
    before, after = (axis.images[0].get_array() for axis in figure.axes[:2])
    assert np.abs(np.asarray(before[:, ::-1], dtype=int) - np.asarray(after, dtype=int)).mean() < 3
    assert [axis.get_title() for axis in figure.axes[:2]] == ["as it is", "seed 1"]


def test_a_frame_without_objects_is_only_shown() -> None:
    figure, axes = style.image_grid(1, 1, aspect=0.5)
    image = np.zeros((32, 64, 3), dtype=np.uint8)
    nothing = torch.zeros(0, 32, 64, dtype=torch.bool)
    pairs.show_objects(axes[0, 0], image, nothing, boxes=torch.zeros(0, 4), track_ids=[], names=[])
    assert captions(figure, 0) == set()


def test_captions_of_equal_boxes_are_apart() -> None:
    _, axes = style.image_grid(1, 1, aspect=1.0)
    for corner in range(4):
        style.caption(axes[0, 0], (0.2, 0.2, 0.6, 0.6), "x", "#ffffff", corner=corner)
    assert len({text.get_position() for text in axes[0, 0].texts}) == 4
