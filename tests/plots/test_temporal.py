"""What is measured of motion is what moved."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stmask.data import VideoDataset
from stmask.errors import ConfigError
from stmask.models.layers import Pyramid
from stmask.models.stmask import STMask
from stmask.ops.boxes import from_masks, paired_iou
from stmask.ops.frames import FramePreprocessor
from stmask.plots import motion, temporal
from stmask.plots.frames import Frame

POOLING: Any = SimpleNamespace(backbone=lambda x: x, fpn=lambda x: Pyramid({"P3": F.avg_pool2d(x, 8)}))


def textured(left: int, top: int, *, track_id: int = 7) -> Frame:
    """A frame of 64 x 96 with a textured square of 24 pixels."""
    texture = np.random.default_rng(0).integers(0, 256, (3, 3, 3)).repeat(8, axis=0).repeat(8, axis=1)
    image = np.full((64, 96, 3), 124, dtype=np.uint8)
    image[top : top + 24, left : left + 24] = texture
    mask = torch.zeros(1, 64, 96, dtype=torch.bool)
    mask[0, top : top + 24, left : left + 24] = True
    inputs = FramePreprocessor(height=64, width=96)(image)
    one = torch.tensor([1])
    return Frame(image, inputs, (64, 96), from_masks(mask), mask, labels=one, track_ids=one * track_id)


@pytest.fixture(scope="module")
def stretches(dataset: VideoDataset, preprocessor: FramePreprocessor) -> list[list[Frame]]:
    return motion.sequences(dataset, preprocessor, count=2, length=3)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (16, -8), (-24, 16)])
def test_the_peak_of_the_correlation_is_the_motion(dx: int, dy: int) -> None:
    before, after = textured(32, 16), textured(32 + dx, 16 + dy)
    (found,) = motion.displacements(POOLING, before, after, level="P3", size=7)
    assert found.true == pytest.approx((dx / 8, dy / 8), abs=1e-5)
    assert found.peak == (dx // 8, dy // 8)


def test_only_objects_in_both_frames_count() -> None:
    before, after = textured(32, 16), textured(32, 16, track_id=8)
    assert motion.displacements(POOLING, before, after, level="P3", size=7) == []
    assert temporal.correlation(POOLING, before, after, level="P3", size=7).axes
    assert "0 moves" in temporal.peaks(POOLING, [[before, after]], level="P3", size=7).get_suptitle()


def test_stretches_are_consecutive_and_whole(stretches: list[list[Frame]], dataset: VideoDataset) -> None:
    assert [len(frames) for frames in stretches] == [3, 3]
    assert all(torch.equal(a.track_ids, b.track_ids) for frames in stretches for a, b in pairwise(frames))


def test_the_liveliest_stretch_moves_most() -> None:
    slow, fast = [textured(32, 16), textured(33, 16)], [textured(32, 16), textured(48, 16)]
    assert motion.liveliest([slow, fast, slow]) is fast


def test_masks_on_a_map_leave_the_padding_out(stretches: list[list[Frame]]) -> None:
    covered = motion.masks_on_map(stretches[0][0], (24, 24))
    assert covered.shape == (2, 24, 24)
    assert covered[:, 18:].abs().max() == 0  # 72 of 96 rows are image
    assert covered.max() == 1


def test_overlaps_of_a_network(network: STMask, stretches: list[list[Frame]]) -> None:
    found = motion.overlaps(network, stretches)
    assert sorted(set(found.gap.tolist())) == [1, 2]
    frames = stretches[0]
    first = motion.instances_at(motion.predict(network, frames)[0], frames[0])
    assert found.box_left[0] == pytest.approx(float(paired_iou(first.boxes[0], frames[1].boxes[0])))
    for values in (found.box_left, found.box_shifted, found.mask_left, found.mask_shifted):
        assert len(values) == len(found.gap) == 8
        assert ((values >= 0) & (values <= 1)).all()


def test_carrying_on_begins_with_the_instances(network: STMask, stretches: list[list[Frame]]) -> None:
    states = motion.carried(network, stretches[0])
    assert len(states) == 3
    torch.testing.assert_close(
        states[0].boxes, motion.instances_at(motion.predict(network, stretches[0])[0], stretches[0][0]).boxes
    )
    assert not torch.equal(states[1].boxes, states[0].boxes)


def test_a_network_without_temporal_fusion_is_named(network: STMask, stretches: list[list[Frame]]) -> None:
    predictions = motion.predict(network, stretches[0][:1])[0]
    instances = motion.instances_at(predictions, stretches[0][0])
    without: Any = SimpleNamespace(temporal=None)
    with pytest.raises(ConfigError, match="no temporal fusion"):
        motion.shifted(without, instances, predictions, predictions)


def test_pictures(network: STMask, stretches: list[list[Frame]]) -> None:
    frames = stretches[0]
    maps = temporal.correlation(network, frames[0], frames[2], level="P3", size=5)
    assert [axis.get_title() for axis in maps.axes[:3]] == ["reference", "target", "correlation on P3"]
    assert len(maps.axes) == 6
    assert len(temporal.shift(network, frames[0], frames[1]).axes) == 3
    carried = temporal.carry(network, frames)
    assert carried.axes[1].get_xlabel().startswith("mask IoU 0.")
    assert [axis.get_title() for axis in temporal.gain(motion.overlaps(network, stretches)).axes] == ["boxes", "masks"]
    carried.savefig("/dev/null", format="png")
