from __future__ import annotations

import copy

import pytest
import torch
from tracking.scenes import Shift, detections, shown

from stmask.models import Tracker
from stmask.models.stmask import Detections, TemporalTracker
from stmask.structures import TrackedFrame
from stmask.tracking import MatchWeights, PlainTracker

NOTHING = detections()
LEFT, RIGHT = 0.05, 0.6
# Two objects pass each other slowly.
CROSSING = [detections((0, 0.1 + s, 0.9), (1, 0.4 - s, 0.8)) for s in torch.linspace(0, 0.3, 16).tolist()]


def run(tracker: Tracker, *frames: Detections, dx: float = 0.0) -> list[TrackedFrame]:
    return [tracker.step(shown(frame, Shift(dx))) for frame in frames]


def ids(frames: list[TrackedFrame]) -> list[list[int]]:
    return [frame.track_ids.tolist() for frame in frames]


def identities(frame: TrackedFrame) -> dict[int, int]:
    """Which object has which track id, by its embedding."""
    return dict(zip(frame.instances.embeddings.argmax(dim=1).tolist(), frame.track_ids.tolist(), strict=True))


@pytest.fixture(params=["online", "plain"])
def tracker(request: pytest.FixtureRequest) -> Tracker:
    return TemporalTracker() if request.param == "online" else PlainTracker()


class TestBoth:
    def test_stay(self, tracker: Tracker) -> None:
        frame = detections((0, LEFT, 0.9), (1, RIGHT, 0.8))
        assert ids(run(tracker, frame, frame, frame)) == [[0, 1]] * 3

    def test_appear(self, tracker: Tracker) -> None:
        first, second = detections((0, LEFT, 0.9)), detections((1, RIGHT, 0.95), (0, LEFT, 0.9))
        assert sorted(ids(run(tracker, first, second))[1]) == [0, 1]
        frame = tracker.step(shown(second))
        by_id = dict(zip(frame.track_ids.tolist(), frame.instances.boxes[:, 0].tolist(), strict=True))
        assert by_id == {0: pytest.approx(LEFT), 1: pytest.approx(RIGHT)}

    def test_empty_first_frame(self, tracker: Tracker) -> None:
        frames = run(tracker, NOTHING, detections((0, LEFT, 0.9)))
        assert ids(frames) == [[], [0]]
        assert [frame.frame_index for frame in frames] == [0, 1]

    def test_only_empty_frames(self, tracker: Tracker) -> None:
        assert ids(run(tracker, NOTHING, NOTHING, NOTHING)) == [[], [], []]

    def test_two_detections_on_one_track(self, tracker: Tracker) -> None:
        one, two = detections((0, LEFT, 0.9)), detections((0, LEFT + 0.03, 0.7), (0, LEFT, 0.9))
        frame = run(tracker, one, two)[1]
        assert frame.track_ids.tolist() == [0]
        assert frame.instances.scores.tolist() == pytest.approx([0.9])

    def test_reset_starts_over(self, tracker: Tracker) -> None:
        frame = detections((0, LEFT, 0.9))
        run(tracker, detections((1, RIGHT, 0.9)), frame)
        tracker.reset()
        again = tracker.step(shown(frame))
        assert (again.frame_index, again.track_ids.tolist()) == (0, [0])

    def test_two_trackers_share_nothing(self, tracker: Tracker) -> None:
        other = copy.copy(tracker)
        other.reset()
        run(tracker, detections((0, LEFT, 0.9)), detections((1, RIGHT, 0.9)))
        assert other.step(shown(detections((0, LEFT, 0.9)))).track_ids.tolist() == [0]

    def test_nothing_is_changed_in_place(self, tracker: Tracker) -> None:
        frames = [detections((0, LEFT, 0.9)), detections((0, LEFT, 0.8), (1, RIGHT, 0.5)), NOTHING]
        copies = copy.deepcopy(frames)
        reported = [tracker.step(shown(frames[0]))]
        kept = copy.deepcopy(reported[0])
        run(tracker, *frames[1:])
        for got, want in [*zip(frames, copies, strict=True), (reported[0].instances, kept.instances)]:
            for name in ("boxes", "scores", "mask_coeffs", "embeddings"):
                assert torch.equal(getattr(got, name), getattr(want, name))
            assert torch.equal(got.masks.probabilities, want.masks.probabilities)


class TestWithTemporalFusion:
    def test_cross(self) -> None:
        assert identities(run(TemporalTracker(), *CROSSING)[-1]) == {0: 0, 1: 1}

    def test_vanish_is_supplemented_then_dropped(self) -> None:
        tracker = TemporalTracker(max_age=3, score_threshold=0.05)
        frames = run(tracker, detections((0, LEFT, 0.9)), *[NOTHING] * 5)
        assert ids(frames) == [[0], [0], [0], [0], [], []]
        assert [frame.supplemented.tolist() for frame in frames[:4]] == [[False], [True], [True], [True]]
        assert frames[2].instances.scores.tolist() == pytest.approx([0.9 * 0.95**2])

    def test_empty_later_frame_moves_the_tracks(self) -> None:
        frames = run(TemporalTracker(), detections((0, 0.1, 0.9)), NOTHING, dx=0.5)
        assert frames[1].instances.boxes[0, 0] == pytest.approx(0.1 + 0.15)

    def test_a_fast_object_is_found_where_it_was_moved_to(self) -> None:
        # It jumps by its own width: no overlap without the motion.
        first, second = detections((0, 0.1, 0.9)), detections((0, 0.4, 0.9))
        assert ids(run(TemporalTracker(), first, second, dx=1.0)) == [[0], [0]]
        assert sorted(ids(run(TemporalTracker(), first, second, dx=0.0))[1]) == [0, 1]

    def test_reenter_after_having_been_dropped(self) -> None:
        tracker = TemporalTracker(max_age=2)
        seen = detections((0, LEFT, 0.9))
        assert ids(run(tracker, seen, *[NOTHING] * 4, seen)) == [[0], [0], [0], [], [], [0]]

    def test_reenter_after_having_been_forgotten(self) -> None:
        tracker = TemporalTracker(max_age=2, forget_after=3)
        seen = detections((0, LEFT, 0.9))
        frames = run(tracker, seen, *[NOTHING] * 4, seen)
        assert ids(frames) == [[0], [0], [0], [], [], [1]]  # an id is never used twice

    def test_a_fading_score_is_not_reported(self) -> None:
        tracker = TemporalTracker(score_threshold=0.5, score_decay=0.8)
        assert ids(run(tracker, detections((0, LEFT, 0.7)), NOTHING, NOTHING)) == [[0], [0], []]

    def test_an_empty_mask_is_not_reported(self) -> None:
        # moved out of the image
        assert ids(run(TemporalTracker(), detections((0, LEFT, 0.9)), NOTHING, dx=10.0)) == [[0], []]

    def test_a_supplemented_object_can_be_detected_again(self) -> None:
        seen = detections((0, LEFT, 0.9))
        frames = run(TemporalTracker(), seen, NOTHING, seen)
        assert ids(frames) == [[0], [0], [0]]
        assert frames[2].supplemented.tolist() == [False]
        assert frames[2].instances.scores.tolist() == pytest.approx([0.9])

    def test_memory_is_bounded(self) -> None:
        tracker = TemporalTracker(max_age=2, forget_after=4)
        for _ in range(30):
            tracker.step(shown(detections((0, LEFT, 0.9), (1, RIGHT, 0.9)), Shift(dx=10.0)))
            assert tracker.tracks is not None
            assert len(tracker.tracks) <= 2 * 5

    def test_all_tracks_are_kept_for_ever_if_asked(self) -> None:
        tracker = TemporalTracker(forget_after=None)
        run(tracker, *[detections((0, LEFT, 0.9))] * 20, *[NOTHING] * 40, dx=10.0)
        assert tracker.tracks is not None
        assert len(tracker.tracks) == 20

    def test_forgetting_before_dropping_is_refused(self) -> None:
        with pytest.raises(ValueError, match="forget_after"):
            TemporalTracker(max_age=10, forget_after=5)


class TestWithoutTemporalFusion:
    def test_cross(self) -> None:
        assert identities(run(PlainTracker(weights=MatchWeights(embedding=2.0), occlusion_iou=1.0), *CROSSING)[-1]) == {
            0: 0,
            1: 1,
        }
        # The occlusion rule freezes both while they overlap, so afterwards each is where the other one was.
        assert identities(run(PlainTracker(), *CROSSING)[-1]) == {0: 1, 1: 0}

    def test_vanish_is_not_supplemented(self) -> None:
        assert ids(run(PlainTracker(), detections((0, LEFT, 0.9)), NOTHING)) == [[0], []]

    def test_reenter(self) -> None:
        seen = detections((0, LEFT, 0.9))
        assert ids(run(PlainTracker(), seen, NOTHING, seen)) == [[0], [], [0]]
        assert ids(run(PlainTracker(forget_after=2), seen, *[NOTHING] * 3, seen))[-1] == [1]

    def test_output_is_in_detection_order(self) -> None:
        first = detections((0, LEFT, 0.9), (1, RIGHT, 0.8))
        second = detections((1, RIGHT, 0.9), (0, LEFT, 0.8))
        assert ids(run(PlainTracker(), first, second)) == [[0, 1], [1, 0]]

    def test_an_occluding_detection_does_not_replace_its_track(self) -> None:
        tracker = PlainTracker()
        # Two overlapping tracks; a detection between them overlaps both by more than 0.3.
        run(tracker, detections((0, 0.1, 0.9), (1, 0.2, 0.8)))
        frame = tracker.step(shown(detections((0, 0.15, 0.7))))
        assert frame.track_ids.tolist() == [0]
        assert frame.instances.boxes[0, 0] == pytest.approx(0.15)  # reported as it is
        assert tracker.tracks is not None
        assert tracker.tracks.instances.boxes[0, 0] == pytest.approx(0.1)  # but the state stays
        assert tracker.tracks.ages.tolist() == [0, 1]

    def test_memory_is_bounded(self) -> None:
        tracker = PlainTracker(forget_after=4)
        for t in range(30):
            tracker.step(shown(detections((t % 4, (t * 0.37) % 0.7, 0.9))))
        assert tracker.tracks is not None
        assert len(tracker.tracks) <= 5
