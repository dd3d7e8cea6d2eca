"""Several videos at once, and the recorded step: the same as one video after the other."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import pytest
import torch
from models.test_lanes import assert_same, network

from stmask.inference import SideBySide, VideoSegmenter
from stmask.inference.recorded import NoLanes, RecordedSteps, recorded_steps
from stmask.ops.frames import FramePreprocessor
from stmask.structures import TrackedFrame

SIZE = FramePreprocessor(height=60, width=96)  # padded to 64 x 96
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def video(seed: int, frames: int) -> list[np.ndarray]:
    """Noise that changes a little with every frame."""
    rng = np.random.default_rng(seed)
    still = rng.integers(0, 200, (60, 96, 3))
    return [(still + rng.integers(0, 56, still.shape)).astype(np.uint8) for _ in range(frames)]


def alone(segmenter: VideoSegmenter, frames: list[np.ndarray]) -> list[TrackedFrame]:
    segmenter.reset()
    return [segmenter.step(frame) for frame in frames]


@pytest.mark.parametrize("device", DEVICES)
def test_videos_side_by_side(device: str) -> None:
    segmenter = VideoSegmenter(network(), preprocessor=SIZE, device=device, graphs=False)
    long, short = video(0, 5), video(1, 3)
    wanted = [alone(segmenter, long), alone(segmenter, short), alone(segmenter, long[:2])]
    both = SideBySide(segmenter, videos=2)
    got: list[list[TrackedFrame | None]] = [[], []]
    for frames in zip_longest(long, short):
        for tracked, one in zip(got, both.step(frames)):
            tracked.append(one)
    both.reset(1)
    third = [both.step([None, frame])[1] for frame in long[:2]]
    assert got[1][3:] == [None, None]
    for tracked, other in zip([*got[0], *got[1][:3], *third], [frame for part in wanted for frame in part]):
        assert tracked is not None
        assert (tracked.frame_index, tracked.placement) == (other.frame_index, other.placement)
        assert_same(tracked, other)


@pytest.mark.parametrize("device", DEVICES)
@torch.inference_mode()
def test_recorded_steps_find_room_for_more_tracks(device: str) -> None:
    segmenter = VideoSegmenter(network(), preprocessor=SIZE, device=device, graphs=False)
    steps = RecordedSteps(
        segmenter.model,
        segmenter.model.tracker(),
        videos=1,
        preprocessor=SIZE,
        device=segmenter.device,
        autocast=None,
        slots=1,
    )
    for index, frame in enumerate(video(0, 5)):
        steps.load([frame])
        (result,) = steps.results(steps.run())
        assert_same(TrackedFrame(index, *result), segmenter.step(frame))


@pytest.mark.gpu
def test_a_segmenter_on_a_gpu_records_its_steps() -> None:
    plain = VideoSegmenter(network(), preprocessor=SIZE, device="cuda", graphs=False)
    fast = VideoSegmenter(network(), preprocessor=SIZE, device="cuda")
    frames = video(0, 5)
    for one, other in zip(alone(fast, frames), alone(plain, frames)):
        assert_same(one, other)
    assert fast._recorded is not None
    fast.reset()
    assert fast.step(frames[0]).frame_index == 0


@pytest.mark.gpu
def test_half_precision_finds_nearly_the_same() -> None:
    exact = VideoSegmenter(network(), preprocessor=SIZE, device="cuda", graphs=False)
    half = VideoSegmenter(network(), preprocessor=SIZE, device="cuda", autocast=torch.bfloat16)
    one, other = alone(exact, video(0, 1))[0], alone(half, video(0, 1))[0]
    assert half._recorded is not None
    assert len(other) == pytest.approx(len(one), abs=3)
    assert float(other.instances.scores.max()) == pytest.approx(float(one.instances.scores.max()), abs=0.05)


def test_no_graph_without_a_gpu() -> None:
    model = network()
    assert (
        recorded_steps(model, model.tracker(), videos=1, preprocessor=SIZE, device=torch.device("cpu"), autocast=None)
        is None
    )


@pytest.mark.parametrize(("error", "said"), [(NoLanes, 0), (NotImplementedError, 1), (RuntimeError, 1)])
def test_a_model_without_lanes_is_silent_and_a_missing_kernel_is_not(
    error: type[Exception], said: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error("aten::some_kernel")

    monkeypatch.setattr("stmask.inference.recorded.RecordedSteps", failing)
    model, gpu = network(), torch.device("cuda")
    assert recorded_steps(model, model.tracker(), videos=1, preprocessor=SIZE, device=gpu, autocast=None) is None
    assert [record.getMessage() for record in caplog.records] == [
        "no CUDA graph could be recorded, so frames take longer: aten::some_kernel"
    ] * said


def test_refusals() -> None:
    segmenter = VideoSegmenter(network(), preprocessor=SIZE)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        SideBySide(segmenter, videos=0)
    with pytest.raises(ValueError, match="2 videos need as many frames, got 1"):
        SideBySide(segmenter, videos=2).step([None])
