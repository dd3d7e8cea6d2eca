"""Videos side by side over fixed shapes: the same detections, identities and masks as one video after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from stmask.models.layers.resnet import ResNet
from stmask.models.stmask import (
    AdaptiveCalibration,
    Detections,
    Detector,
    PredictionHead,
    STMask,
    TemporalFusion,
    TemporalTracker,
)
from stmask.models.stmask.detector import detected
from stmask.models.stmask.lanes import TemporalLanes
from stmask.ops.nms import CrossClassNMS
from stmask.structures import TrackedFrame

FRAMES = 6
ALL = torch.tensor([True, True])


def network(**tracking: int) -> STMask:
    """A small network that sees something everywhere."""
    torch.manual_seed(0)
    model = STMask(
        backbone=ResNet(depth=18, width=16, norm="group"),
        num_classes=3,
        channels=16,
        num_prototypes=8,
        head=lambda **shared: PredictionHead(embedding_dim=8, align=AdaptiveCalibration(branches=["class"]), **shared),
        temporal=lambda **shared: TemporalFusion(size=3, hidden=[16, 16, 16], **shared),
        detector=Detector(score_threshold=0.3, nms=CrossClassNMS(top_k=60, max_detections=12)),
        tracker=lambda: TemporalTracker(score_threshold=0.0, max_age=1, forget_after=2, **tracking),
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
    return model


def videos() -> Tensor:
    """(2, FRAMES, 3, 64, 96): noise that changes a little with every frame."""
    generator = torch.Generator().manual_seed(1)
    still = torch.randn(2, 1, 3, 64, 96, generator=generator)
    return still + 0.5 * torch.randn(2, FRAMES, 3, 64, 96, generator=generator)


def lanes_of(model: STMask, frames: Tensor, *, slots: int) -> TemporalLanes:
    lanes = model.lanes(model.tracker(), frames[:, 0], slots=slots)
    assert isinstance(lanes, TemporalLanes)
    return lanes


def side_by_side(model: STMask, frames: Tensor, *, slots: int) -> Iterator[list[TrackedFrame]]:
    lanes = lanes_of(model, frames, slots=slots)
    for index in range(FRAMES):
        reported = lanes.step(frames[:, index], ALL)
        yield [
            TrackedFrame(index, *reported.of(video, count)) for video, (count, _) in enumerate(reported.counts.tolist())
        ]


def assert_same(one: TrackedFrame, other: TrackedFrame) -> None:
    assert one.track_ids.tolist() == other.track_ids.tolist()
    assert one.supplemented.tolist() == other.supplemented.tolist()
    a, b = one.instances, other.instances
    assert isinstance(a, Detections)
    assert isinstance(b, Detections)
    assert a.labels.tolist() == b.labels.tolist()
    for name in ("boxes", "scores", "centerness", "mask_coeffs", "embeddings"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=1e-4, rtol=1e-4)
    assert torch.equal(a.masks.binary(), b.masks.binary())


@pytest.mark.parametrize("slots", [40, 200])
@torch.inference_mode()
def test_the_same_as_one_video_after_the_other(slots: int) -> None:
    model, frames = network(), videos()
    reported: list[TrackedFrame] = []
    trackers = [model.tracker(), model.tracker()]
    for index, together in enumerate(side_by_side(model, frames, slots=slots)):
        found = detected(model.detector, model(frames[:, index]), temporal=model.temporal)
        for tracker, frame, tracked in zip(trackers, found, together):
            assert_same(tracked, tracker.step(frame))
            reported.append(tracked)
    assert any(frame.supplemented.any() for frame in reported)
    assert not all(frame.supplemented.all() for frame in reported[2:])
    assert len({int(i) for frame in reported for i in frame.track_ids}) < sum(map(len, reported)) / 2  # some went on


@torch.inference_mode()
def test_what_does_not_fit_is_said_and_changes_nothing() -> None:
    model, frames = network(), videos()
    lanes = lanes_of(model, frames, slots=12)
    assert lanes.step(frames[:, 0], ALL).counts[:, 1].tolist() == [12, 12]
    assert lanes.step(frames[:, 1], ALL).counts[:, 1].max() > 12
    wide, other = lanes_of(model, frames, slots=64), lanes_of(model, frames, slots=64)
    wide.restore(lanes.state())
    other.step(frames[:, 0], ALL)
    assert wide.step(frames[:, 1], ALL).counts.tolist() == other.step(frames[:, 1], ALL).counts.tolist()


@torch.inference_mode()
def test_a_video_that_begins_or_waits_does_not_touch_the_others() -> None:
    model, frames = network(), videos()
    lanes = lanes_of(model, frames, slots=64)
    for index in range(3):
        lanes.step(frames[:, index], ALL)
    kept = lanes.state()
    undisturbed = lanes.step(frames[:, 3], ALL)
    seconds = undisturbed.of(1, int(undisturbed.counts[1, 0]))[1].tolist()
    lanes.restore(kept)
    lanes.reset(0)
    reported = lanes.step(frames[:, 3], ALL)
    fresh = lanes_of(model, frames, slots=64).step(frames[:, 3], ALL)
    assert reported.counts[0].tolist() == fresh.counts[0].tolist()
    count = int(fresh.counts[0, 0])
    assert reported.of(0, count)[1].tolist() == fresh.of(0, count)[1].tolist()
    assert reported.of(1, int(reported.counts[1, 0]))[1].tolist() == seconds
    lanes.restore(kept)
    lanes.step(frames[:, 2], torch.tensor([True, False]))
    reported = lanes.step(frames[:, 3], ALL)
    assert reported.of(1, int(reported.counts[1, 0]))[1].tolist() == seconds


@torch.inference_mode()
def test_nothing_is_seen() -> None:
    model, frames = network(), videos()
    model.detector.score_threshold = 1.0
    for together in side_by_side(model, frames, slots=4):
        assert [len(frame) for frame in together] == [0, 0]


def test_of_equal_scores_the_first_is_the_best() -> None:
    scores = torch.tensor([[0.5, -0.0, 0.0, 0.5, -torch.inf, -0.25, -0.5, 0.75], [1.0] * 4 + [0.0] * 4])
    order = CrossClassNMS(top_k=8).best(scores)
    assert order.tolist() == scores.argsort(dim=1, descending=True, stable=True).tolist()


@torch.inference_mode()
def test_a_copy_for_half_precision_gives_the_same() -> None:
    model, frames = network(), videos()
    copy = model.ready(torch.float32)
    assert copy.temporal is not None
    assert copy.temporal.convs[0].in_channels % 8 == 0
    for one, other in zip(side_by_side(copy, frames, slots=40), side_by_side(model, frames, slots=40)):
        for a, b in zip(one, other):
            assert_same(a, b)
