"""The memory tracker with its scorers, in named scenes of objects 0.2 wide whose features are one-hot vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from stmask.errors import ConfigError
from stmask.structures import BoxedMasks, Frame, Instances
from stmask.tracking import GatedCosine, MemoryTracker, PlainTracker, SoftmaxScores
from stmask.tracking.scorers import Scorer

SIDE, LENGTH = 0.2, 2.0
SCORERS = {"softmax": SoftmaxScores(), "gated": GatedCosine()}


@dataclass(frozen=True, slots=True)
class Seen(Instances):
    track_features: Tensor


def seen(*objects: tuple[int, float, float], labels: tuple[int, ...] | None = None) -> Frame:
    """An object for each (identity, x, score)."""
    n = len(objects)
    boxes = torch.tensor([[x, 0.4, x + SIDE, 0.4 + SIDE] for _, x, _ in objects]).view(n, 4)
    return Frame(
        Seen(
            boxes=boxes,
            scores=torch.tensor([score for *_, score in objects]).view(n),
            labels=torch.tensor(labels or (1,) * n, dtype=torch.int64).view(n),
            masks=BoxedMasks(torch.ones(n, 4, 4), boxes),
            track_features=LENGTH * torch.eye(4)[[i for i, *_ in objects]].view(n, 4),
        )
    )


NOTHING = seen()


def ids(tracker: MemoryTracker, *frames: Frame) -> list[list[int]]:
    return [tracker.step(frame).track_ids.tolist() for frame in frames]


@pytest.fixture(params=SCORERS)
def tracker(request: pytest.FixtureRequest) -> MemoryTracker:
    return MemoryTracker(scorer=SCORERS[request.param], forget_after=3)


class TestEveryScorer:
    def test_stay_and_move(self, tracker: MemoryTracker) -> None:
        moving = [seen((0, 0.1 + 0.05 * t, 0.9), (1, 0.6, 0.8)) for t in range(4)]
        assert ids(tracker, *moving) == [[0, 1]] * 4

    def test_appear(self, tracker: MemoryTracker) -> None:
        one, two = seen((0, 0.1, 0.9)), seen((1, 0.6, 0.95), (0, 0.1, 0.9))
        assert ids(tracker, one, two, two) == [[0], [1, 0], [1, 0]]

    def test_vanish(self, tracker: MemoryTracker) -> None:
        assert ids(tracker, seen((0, 0.1, 0.9), (1, 0.6, 0.8)), seen((1, 0.6, 0.8)), NOTHING) == [[0, 1], [1], []]

    def test_cross(self, tracker: MemoryTracker) -> None:
        passing = [seen((0, 0.1 + 0.1 * t, 0.9), (1, 0.5 - 0.1 * t, 0.8)) for t in range(5)]
        assert ids(tracker, *passing) == [[0, 1]] * 5

    @pytest.mark.parametrize(("absent", "identity"), [(0, 0), (3, 0), (4, 1)])
    def test_reenter(self, tracker: MemoryTracker, absent: int, identity: int) -> None:
        one = seen((0, 0.1, 0.9))
        assert ids(tracker, one, *[NOTHING] * absent, one)[-1] == [identity]

    def test_of_two_for_one_track_the_better_match_has_it(self, tracker: MemoryTracker) -> None:
        one, two = seen((0, 0.1, 0.9)), seen((0, 0.15, 0.8), (0, 0.1, 0.79))
        frames = [tracker.step(frame) for frame in (one, two)]
        assert frames[1].track_ids.tolist() == [0]
        assert frames[1].instances.scores.tolist() == pytest.approx([0.79])
        assert tracker.tracks is not None
        assert tracker.tracks.instances.boxes[:, 0].tolist() == pytest.approx([0.1])

    def test_of_two_equal_ones_the_first_has_it(self, tracker: MemoryTracker) -> None:
        frame = [tracker.step(frame) for frame in (seen((0, 0.1, 0.9)), seen((0, 0.1, 0.8), (0, 0.1, 0.8)))][1]
        assert frame.track_ids.tolist() == [0]

    def test_another_class_is_another_object(self, tracker: MemoryTracker) -> None:
        assert ids(tracker, seen((0, 0.1, 0.9)), seen((0, 0.1, 0.9), labels=(2,))) == [[0], [1]]

    def test_only_empty_frames_and_a_reset(self, tracker: MemoryTracker) -> None:
        assert ids(tracker, NOTHING, NOTHING, seen((0, 0.1, 0.9))) == [[], [], [0]]
        tracker.reset()
        frame = tracker.step(seen((1, 0.1, 0.9)))
        assert (frame.frame_index, frame.track_ids.tolist()) == (0, [0])


def test_without_forgetting() -> None:
    tracker = MemoryTracker(scorer=SoftmaxScores(), forget_after=None)
    one = seen((0, 0.1, 0.9))
    assert ids(tracker, one, *[NOTHING] * 50, one)[-1] == [0]


@pytest.mark.parametrize(("label", "third"), [("last", [0]), ("first", [1])])
def test_the_class_in_memory(label: str, third: list[int]) -> None:
    """Class 1, then 2 for once, so alike that it is joined all the same, then 2 from elsewhere."""
    tracker = MemoryTracker(scorer=SoftmaxScores(label=4.0), label=label)  # type: ignore[arg-type]
    frames = seen((0, 0.1, 0.9)), seen((0, 0.1, 0.9), labels=(2,)), seen((3, 0.1, 0.9), labels=(2,))
    assert ids(tracker, *frames) == [[0], [0], third]


def test_the_values_of_the_softmax_rule() -> None:
    """By hand: two detections, one track, features of length 2."""
    now, before = seen((0, 0.1, 0.5), (1, 0.6, 0.25)).instances, seen((0, 0.2, 0.9)).instances
    found = SoftmaxScores()(now, before)
    assert found.values.tolist() == [
        [pytest.approx(4 - math.log(1 + math.exp(4)) + math.log(0.5) + 2 / 3 + 10, abs=1e-5)],
        [pytest.approx(-math.log(2) + math.log(0.25) + 10, abs=1e-5)],
    ]
    assert found.new.tolist() == pytest.approx(
        [-math.log(1 + math.exp(4)) + math.log(0.5) + 10, -math.log(2) + math.log(0.25) + 10], abs=1e-5
    )


def test_the_values_of_the_gated_rule() -> None:
    now, before = seen((0, 0.1, 0.5), (0, 0.1, 0.5), labels=(1, 2)).instances, seen((0, 0.2, 0.9)).instances
    assert GatedCosine()(now, before).values.flatten().tolist() == pytest.approx([1 + 1 / 3, -1], abs=1e-6)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)
def test_nothing(scorer: Scorer) -> None:
    none, two = NOTHING.instances, seen((0, 0.1, 0.9), (1, 0.6, 0.8)).instances
    for now, before in ((none, two), (two, none), (none, none)):
        found = scorer(now, before)
        assert found.values.shape == (len(now), len(before))
        assert found.new.shape == found.ranks.shape == (len(now),)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="label must be one of last, first, got 'second'"):
        MemoryTracker(scorer=SoftmaxScores(), label="second")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="forget_after"):
        MemoryTracker(scorer=SoftmaxScores(), forget_after=-1)
    with pytest.raises(ValueError, match="box_iou"):
        SoftmaxScores(box_iou=-1.0)
    bare = Instances(*(getattr(seen((0, 0.1, 0.9)).instances, name) for name in ("boxes", "scores", "labels", "masks")))
    with pytest.raises(ConfigError, match="track features, which the model's instances do not have"):
        MemoryTracker(scorer=SoftmaxScores()).step(Frame(bare))
    with pytest.raises(ConfigError, match="embeddings, which the model's instances do not have"):
        PlainTracker().step(seen((0, 0.1, 0.9)))
