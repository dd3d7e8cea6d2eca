from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from stmask.inference import VideoResultBuilder, VideoSegmenter
from stmask.models import Tracker, VideoModel
from stmask.models.stmask import ComputedBranches, DensePredictions, Detections, Detector, FrameMemory, TemporalTracker
from stmask.ops.frames import FramePreprocessor
from stmask.structures import CroppedMasks, DenseMasks, Frame, Placement, TrackedFrame
from stmask.tasks import Images, Videos
from stmask.tasks.results import ClassVote, encode_masks
from stmask.tracking import PlainTracker

SMALL = FramePreprocessor(height=90, width=160)  # padded to 96 x 160
PADDED = Placement(image_size=(90, 160), padded_size=(96, 160))


class BrightSide(VideoModel):
    """Sees one object of class 2 in the brighter half of the frame (left or right), nothing in an even one."""

    num_classes = 2

    def __init__(self, temporal: nn.Module | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.temporal = temporal

    def detect(self, frames: Tensor) -> list[Frame]:
        predictions = self(frames)
        return [
            Frame(Detector()(predictions, index), FrameMemory.of(predictions, index, temporal=self.temporal))
            for index in range(predictions.batch_size)
        ]

    def tracker(self) -> Tracker:
        return PlainTracker() if self.temporal is None else TemporalTracker()

    def forward(self, frames: Tensor) -> DensePredictions:
        batch, _, height, width = frames.shape
        halves = frames.mean(dim=(1, 2)).view(batch, 2, width // 2).mean(dim=2)  # (B, 2)
        bright = torch.stack([halves[:, 0] > halves[:, 1] + 0.1, halves[:, 1] > halves[:, 0] + 0.1], dim=1)
        logits = torch.zeros(batch, 2, 3)
        logits[..., 0], logits[..., 2] = 5.0, bright.float() * 10
        return DensePredictions(
            box_deltas=torch.zeros(batch, 2, 4),
            class_logits=logits * self.scale,
            branches=ComputedBranches(torch.full((batch, 2, 4), 3.0), torch.eye(4)[:1].expand(batch, 2, 4)),
            centerness=None,
            anchors=torch.tensor([[0.25, 0.5, 0.4, 0.8], [0.75, 0.5, 0.4, 0.8]]),
            prototypes=torch.ones(batch, height // 4, width // 4, 4),
            temporal_features=None if self.temporal is None else torch.zeros(batch, 8, height // 16, width // 16),
        )


class StandStill(nn.Module):
    def fuse(self, reference: Tensor, target: Tensor) -> Tensor:
        return torch.cat([reference, target], dim=1)

    def forward(self, fused: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        n = sum(len(b) for b in boxes)
        return torch.zeros(n, 4), torch.zeros(n, 4)


def frame(side: str | None, size: tuple[int, int] = (45, 80)) -> np.ndarray:
    image = np.full((*size, 3), 100, dtype=np.uint8)
    if side is not None:
        image[:, slice(0, size[1] // 2) if side == "left" else slice(size[1] // 2, None)] = 250
    return image


def tracked(n: int, masks: Tensor | None = None, boxes: Tensor | None = None, **changes: Tensor | int) -> TrackedFrame:
    detections = Detections(
        boxes=torch.zeros(n, 4) if boxes is None else boxes,
        scores=torch.as_tensor(changes.get("scores", torch.full((n,), 0.5))),
        labels=torch.as_tensor(changes.get("labels", torch.ones(n, dtype=torch.int64))),
        centerness=torch.ones(n),
        mask_coeffs=torch.zeros(n, 4),
        embeddings=torch.zeros(n, 4),
        masks=DenseMasks(torch.zeros(n, 24, 40) if masks is None else masks),
    )
    ids = torch.as_tensor(changes.get("track_ids", torch.arange(n)))
    unseen = torch.zeros(n, dtype=torch.bool)
    return TrackedFrame(int(changes.get("frame_index", 0)), detections, ids, unseen, PADDED)


def ones(n: int) -> CroppedMasks:
    return CroppedMasks.of(torch.ones(n, 2, 2, dtype=torch.bool))


class TestSegmenter:
    def test_the_tracker_follows_from_the_model(self) -> None:
        assert isinstance(VideoSegmenter(BrightSide()).tracker, PlainTracker)
        assert isinstance(VideoSegmenter(BrightSide(StandStill())).tracker, TemporalTracker)

    def test_frames_in_tracks_out(self) -> None:
        segmenter = VideoSegmenter(BrightSide(), preprocessor=SMALL, class_names=("cat", "dog"))
        frames = [segmenter.step(frame(side)) for side in ("left", "left", None, "right")]
        assert [f.track_ids.tolist() for f in frames] == [[0], [0], [], [1]]
        assert frames[0].instances.labels.tolist() == [2]
        assert segmenter.class_names == ("cat", "dog")
        segmenter.reset()
        assert segmenter.step(frame("right")).track_ids.tolist() == [0]

    def test_temporal_fusion_fills_the_gap(self) -> None:
        segmenter = VideoSegmenter(BrightSide(StandStill()), preprocessor=SMALL)
        frames = [segmenter.step(frame(side)) for side in ("left", None, "left")]
        assert [f.supplemented.tolist() for f in frames] == [[False], [True], [False]]

    def test_a_tensor_is_as_good_as_an_array(self) -> None:
        segmenter = VideoSegmenter(BrightSide(), preprocessor=SMALL)
        assert len(segmenter.step(torch.from_numpy(frame("left")))) == 1

    @pytest.mark.parametrize(
        ("shape", "kind"), [((4, 4), "uint8"), ((4, 4, 3), "float32"), ((3, 4, 4), "uint8"), ((0, 4, 3), "uint8")]
    )
    def test_other_frames_are_refused(self, shape: tuple[int, ...], kind: str) -> None:
        with pytest.raises(ValueError, match="uint8 RGB"):
            VideoSegmenter(BrightSide(), preprocessor=SMALL).step(np.zeros(shape, kind))

    def test_the_model_is_evaluated_without_gradients_and_timed(self) -> None:
        model = BrightSide().train()
        segmenter = VideoSegmenter(model, preprocessor=SMALL)
        found = segmenter.step(frame("left"))
        assert not model.training
        assert not found.instances.scores.requires_grad
        assert set(segmenter.timings) == {"preprocessing", "network", "detection", "tracking"}
        assert all(seconds > 0 for seconds in segmenter.timings.values())

    def test_half_precision_gives_float32_results(self) -> None:
        found = VideoSegmenter(BrightSide(), preprocessor=SMALL, autocast=torch.bfloat16).step(frame("left"))
        assert found.instances.scores.dtype == torch.float32

    def test_masks_lose_the_padding_and_grow(self) -> None:
        masks = torch.zeros(2, 24, 40)
        masks[0, 22:] = 1.0  # of 24 rows 22.5 are the image: rows 22 and 23 are padding
        masks[1, :, :20] = 1.0
        got = tracked(2, masks).masks_at((44, 80))
        assert got.dtype == torch.bool
        assert got[0].sum() == 0
        assert got[1, :, :40].all()
        assert not got[1, :, 40:].any()

    def test_boxes_are_of_the_image_and_cut_to_it(self) -> None:
        boxes = torch.tensor([[-0.1, 0.0, 0.5, 0.46875], [0.25, 0.5, 1.2, 1.0], [1.1, 0.1, 1.3, 0.2]])
        got = tracked(3, boxes=boxes).boxes_at((180, 320))
        wanted = [[0, 0, 160, 90], [80, 96, 320, 180], [320, 19.2, 320, 38.4]]
        torch.testing.assert_close(got, torch.tensor(wanted))

    def test_the_frames_say_where_the_image_lies(self) -> None:
        assert VideoSegmenter(BrightSide(), preprocessor=SMALL).step(frame("left")).placement == PADDED

    def test_an_image_is_a_frame_whose_instances_are_tracks_of_their_own(self) -> None:
        segmenter = VideoSegmenter(BrightSide(), preprocessor=SMALL)
        segmenter.step(frame("left"))
        found = segmenter.detect(frame("right"))
        assert (found.track_ids.tolist(), found.placement) == ([0], PADDED)
        assert segmenter.step(frame("left")).track_ids.tolist() == [0]  # the video has not gone on
        assert segmenter.step(frame("left")).frame_index == 2

    @pytest.mark.parametrize("temporal", [None, StandStill()])
    def test_videos_side_by_side_do_not_meet(self, temporal: nn.Module | None) -> None:
        segmenter = VideoSegmenter(BrightSide(temporal), preprocessor=SMALL)
        videos = [("left", None, "right", "left"), ("right", "right", None, "left"), (None, "left", "left", "right")]
        alone = []
        for sides in videos:
            segmenter.reset()
            alone.append([segmenter.step(frame(side)) for side in sides])
        trackers = segmenter.trackers(3)
        beside = [segmenter.step_many([frame(side, (30, 40)) for side in sides], trackers) for sides in zip(*videos)]
        for mine, wanted in zip(zip(*beside), alone, strict=True):
            for got, expected in zip(mine, wanted, strict=True):
                assert (got.frame_index, got.placement) == (expected.frame_index, PADDED)
                assert got.track_ids.tolist() == expected.track_ids.tolist()
                assert got.supplemented.tolist() == expected.supplemented.tolist()
                assert torch.equal(got.instances.boxes, expected.instances.boxes)
        assert segmenter.step(frame("left")).frame_index == 4  # the video of `step` has not gone on
        (again, _) = segmenter.step_many([frame("right")] * 2, segmenter.trackers(2))
        assert again.track_ids.tolist() == [0]

    def test_a_tracker_of_ones_own_is_copied_for_videos_side_by_side(self) -> None:
        own = PlainTracker(forget_after=7)
        segmenter = VideoSegmenter(BrightSide(), tracker=own, preprocessor=SMALL)
        segmenter.step(frame("left"))
        first, second = segmenter.trackers(2)
        assert isinstance(first, PlainTracker)
        assert first is not second
        assert first is not own
        assert (first.tracks, first._forget_after) == (None, 7)

    def test_each_video_needs_a_tracker_of_its_own(self) -> None:
        segmenter = VideoSegmenter(BrightSide(), preprocessor=SMALL)
        for trackers in ([segmenter.tracker] * 2, segmenter.trackers(3)):
            with pytest.raises(ValueError, match="2 frames need as many trackers, all different"):
                segmenter.step_many([frame("left"), frame("right")], trackers)

    def test_images_in_one_pass(self) -> None:
        found = VideoSegmenter(BrightSide(), preprocessor=SMALL).detect_many([frame("left"), frame(None)])
        assert [one.track_ids.tolist() for one in found] == [[0], []]

    def test_no_instances(self) -> None:
        assert tracked(0).masks_at((44, 80)).shape == (0, 44, 80)
        assert tracked(0).boxes_at((44, 80)).shape == (0, 4)

    def test_some_instances_of_a_frame(self) -> None:
        some = tracked(3)[torch.tensor([2, 0])]
        assert some.track_ids.tolist() == [2, 0]
        assert some.placement == PADDED


class TestResults:
    def test_masks_are_encoded_as_pycocotools_does(self) -> None:
        masks = torch.rand(7, 9, 12, generator=torch.Generator().manual_seed(0)) > 0.7
        masks[0], masks[1] = False, True
        masks[2], masks[2, 0, 0] = False, True
        masks[3], masks[3, -1, -1] = False, True
        masks[4, :, :5] = False
        masks[5, :, 7:] = False
        wanted = coco_mask.encode(np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8)))
        got = encode_masks(CroppedMasks.of(masks))
        assert [rle["counts"] for rle in got] == [rle["counts"].decode() for rle in wanted]
        assert all(rle["size"] == [9, 12] for rle in got)
        assert encode_masks(CroppedMasks.of(masks[:0])) == []

    @pytest.mark.parametrize("rows", [(0, 9), (0, 4), (3, 9), (2, 7)])
    @pytest.mark.parametrize("columns", [(0, 12), (0, 5), (4, 12), (3, 6)])
    def test_a_part_of_a_mask_is_encoded_as_the_whole(self, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        whole = torch.zeros(4, 9, 12, dtype=torch.bool)
        inside = whole[:, slice(*rows), slice(*columns)]
        inside[:2] = torch.rand(inside[:2].shape, generator=torch.Generator().manual_seed(0)) > 0.4
        inside[2] = True
        parts = CroppedMasks((9, 12), ((rows[0], columns[0]),) * 4, tuple(inside.numpy()))
        assert encode_masks(parts) == encode_masks(CroppedMasks.of(whole))
        assert encode_masks(parts[[3, 0]]) == encode_masks(CroppedMasks.of(whole[[3, 0]]))

    @pytest.mark.filterwarnings("ignore:__array__ implementation")  # of the decoder, with new versions of numpy
    def test_a_track_over_three_frames(self) -> None:
        mask = torch.zeros(1, 5, 7, dtype=torch.bool)
        mask[0, 1:3, 2:6] = True
        builder = VideoResultBuilder(17)
        for index, (score, label) in {0: (0.25, 2), 2: (0.75, 1), 3: (0.5, 1)}.items():
            one = tracked(1, scores=torch.tensor([score]), labels=torch.tensor([label]), frame_index=index)
            builder.add(one, CroppedMasks.of(mask))
        builder.add(tracked(0, frame_index=1), CroppedMasks.of(mask[:0]))
        result = builder.build(5)
        (track,) = result.tracks
        assert (result.video_id, result.length) == (17, 5)
        assert (track.track_id, track.label, track.score) == (0, 1, 0.5)
        assert [s is None for s in track.segmentations] == [False, True, False, False, True]
        rle = track.segmentations[2]
        assert rle is not None
        assert rle["size"] == [5, 7]
        assert isinstance(rle["counts"], str)
        np.testing.assert_array_equal(coco_mask.decode([rle])[:, :, 0], mask[0].numpy())

    def test_the_lowest_of_equally_frequent_labels(self) -> None:
        builder = VideoResultBuilder(1)
        for index, label in enumerate([3, 2, 3, 2, 5]):
            one = tracked(1, labels=torch.tensor([label]), frame_index=index)
            builder.add(one, ones(1))
        assert builder.build(5).tracks[0].label == 2

    @pytest.mark.parametrize(("class_vote", "label"), [("frames", 2), ("scores", 3)])
    def test_frames_choose_the_class_alike_or_by_their_scores(self, class_vote: ClassVote, label: int) -> None:
        builder = VideoResultBuilder(1, class_vote=class_vote)
        for index, (score, found) in enumerate([(0.2, 2), (0.9, 3), (0.3, 2)]):
            one = tracked(1, scores=torch.tensor([score]), labels=torch.tensor([found]), frame_index=index)
            builder.add(one, ones(1))
        assert builder.build(3).tracks[0].label == label

    def test_tracks_come_by_id(self) -> None:
        builder = VideoResultBuilder(1)
        builder.add(tracked(3, track_ids=torch.tensor([4, 0, 2])), ones(3))
        assert [track.track_id for track in builder.build(1).tracks] == [0, 2, 4]

    def test_no_tracks(self) -> None:
        assert VideoResultBuilder(1).build(3).tracks == ()

    def test_masks_must_be_as_many_as_instances(self) -> None:
        with pytest.raises(ValueError, match="2 instances"):
            VideoResultBuilder(1).add(tracked(2), ones(1))

    def test_a_track_is_reported_once_in_a_frame(self) -> None:
        twice = ones(2)
        with pytest.raises(ValueError, match="track 4 is reported for frame 0 twice"):
            VideoResultBuilder(1).add(tracked(2, track_ids=torch.tensor([4, 4])), twice)
        builder = VideoResultBuilder(1)
        builder.add(tracked(2), twice)
        with pytest.raises(ValueError, match="counts its frames"):
            builder.add(tracked(2), twice)


class Film:
    """An item of a dataset: a video whose bright side changes."""

    size = (45, 80)

    def __init__(self, video_id: int, *sides: str | None) -> None:
        self.video_id, self.sides = video_id, sides

    def __len__(self) -> int:
        return len(self.sides)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(frame, self.sides)


class TestTasks:
    films = (
        Film(4, "left", "left", None, "right"),
        Film(7),
        Film(1, "right"),
        Film(9, None, "left", "right", "right", "right", "left"),
        Film(2, "left", "right"),
    )

    @pytest.mark.parametrize("temporal", [None, StandStill()])
    @pytest.mark.parametrize("batch", [1, 2, 3, 9])
    def test_videos_side_by_side_have_the_results_of_videos_alone(self, batch: int, temporal: nn.Module | None) -> None:
        segmenter = VideoSegmenter(BrightSide(temporal), preprocessor=SMALL)
        wanted = {}
        for film in self.films:
            segmenter.reset()
            builder = VideoResultBuilder(film.video_id)
            for image in film:
                tracked = segmenter.step(image)
                builder.add(tracked, tracked.cropped_masks_at(film.size))
            wanted[film.video_id] = builder.build(len(film))
        seen: list[int] = []
        found = list(Videos().run(segmenter, self.films, batch=batch, on_frame=lambda: seen.append(1)))
        assert {film.video_id: result for film, result in found} == wanted
        assert len(seen) == sum(map(len, self.films))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("masks")]

    @pytest.mark.parametrize("batch", [1, 2, 9])
    def test_images_in_one_pass_have_the_results_of_images_alone(self, batch: int) -> None:
        segmenter = VideoSegmenter(BrightSide(), preprocessor=SMALL)
        images = [Film(i, side) for i, side in enumerate(("left", None, "right"))]
        found = list(Images().run(segmenter, images, batch=batch))
        assert [(item.video_id, len(result.instances)) for item, result in found] == [(0, 1), (1, 0), (2, 1)]

    def test_an_error_ends_all_videos_and_their_threads(self) -> None:
        class Broken(Film):
            def __iter__(self) -> Iterator[np.ndarray]:
                yield frame("left")
                raise OSError("cannot be read")

        segmenter = VideoSegmenter(BrightSide(), preprocessor=SMALL)
        with pytest.raises(OSError, match="cannot be read"):
            list(Videos().run(segmenter, [self.films[0], Broken(3, "left", "left")], batch=2))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("masks")]
