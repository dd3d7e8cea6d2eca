"""The same weights and frames give the numbers of the authors' code, from the backbone to the tracks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from official.reference import DATA, R50, R50_ADA, R50_PLAIN, build, deviation, stored
from torch import Tensor

from stmask.checkpoints import construct, overlaid
from stmask.inference import VideoResultBuilder, VideoSegmenter
from stmask.models import Tracker
from stmask.models.stmask import DensePredictions, Detector, FrameMemory
from stmask.official.quirks import UnfusedDetector
from stmask.ops.frames import FramePreprocessor
from stmask.ops.rois import crop_regions
from stmask.structures import Frame, TrackResult

TOLERANCE = 1e-4
SIZE = FramePreprocessor(height=180, width=320)
# The middle of a gap between scores, so that rounding changes no candidate.
THRESHOLDS = {R50: 0.03814, R50_ADA: 0.067582, R50_PLAIN: 0.03814}


@dataclass
class Run:
    """A network and what it predicts for each frame of the clip."""

    variant: str
    model: Any
    frames: np.ndarray
    predictions: list[DensePredictions]

    @property
    def score_threshold(self) -> float:
        return THRESHOLDS[self.variant]

    def detector(self, nms: str) -> Detector:
        described = overlaid(self.model.card.model["detector"], {"score_threshold": self.score_threshold})
        if nms == "per_class":
            described["nms"] = {"_target_": "stmask.ops.nms.PerClassNMS"}
        return construct.build(described, key="model.detector")

    def tracker(self) -> Tracker:
        own = {} if self.model.temporal is None else {"score_threshold": self.score_threshold}
        return construct.build(overlaid(self.model.card.model["tracker"], own), key="model.tracker")()

    def memory(self, predictions: DensePredictions) -> FrameMemory:
        return FrameMemory.of(predictions, temporal=self.model.temporal)


@pytest.fixture(scope="module", params=[R50_ADA, R50, R50_PLAIN])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    model, frames = build(request.param), stored("clip")["frames"]
    with torch.inference_mode():
        yield Run(request.param, model, frames, [model(SIZE(frame)[None]) for frame in frames])


def check(got: dict[str, Tensor], reference: dict[str, np.ndarray]) -> None:
    """Each tensor against its stored values and the statistics over all of it."""
    for name, tensor in got.items():
        array = tensor.numpy()
        assert array.shape == tuple(reference[f"{name}__shape"]), name
        assert deviation(array.ravel()[:: int(reference[f"{name}__step"])], reference[name]) < TOLERANCE, name
        whole = array.astype(np.float64)
        stats = np.array([whole.mean(), whole.std(), np.abs(whole).sum()])
        scale = np.abs(reference[name]).max()
        np.testing.assert_allclose(
            stats / [scale, scale, scale * whole.size],
            reference[f"{name}__stats"] / [scale, scale, scale * whole.size],
            atol=TOLERANCE,
        )


def test_stages(run: Run) -> None:
    model, first = run.model, run.predictions[0]
    maps = model.backbone(SIZE(run.frames[0])[None])
    pyramid = model.fpn(maps)
    mask_coeffs, embeddings = first.branches.everywhere()
    check(
        {
            **{name.lower(): maps[name] for name in maps if name != "C2"},  # which nothing of STMask reads
            **{name.lower(): pyramid[name] for name in pyramid},
            "proto": first.prototypes,
            "loc": first.box_deltas,
            "conf": first.class_logits,
            "mask_coeff": mask_coeffs,
            "track": embeddings,
            "centerness": first.centerness[..., None],
            "priors": first.anchors[None],
            "frame1_conf": run.predictions[1].class_logits,
        },
        stored(f"stages_{run.variant}"),
    )


@pytest.mark.parametrize("run", [R50_ADA, R50], indirect=True)
def test_temporal_fusion(run: Run) -> None:
    temporal = run.model.temporal
    reference = stored(f"stages_{run.variant}")
    features = [run.predictions[t].temporal_features for t in (0, 1)]
    maps, towers = zip(*(f.chunk(2, dim=1) for f in features), strict=True)
    fused = temporal.fuse(*features)
    boxes = [torch.from_numpy(reference["fixed_boxes"].reshape(-1, 4))]
    box_deltas, coeff_deltas = temporal(fused, boxes)
    check(
        {
            "frame1_p4": maps[1],
            "t2s_feat_p4_frame0": towers[0],
            "corr_01": temporal.correlate(*maps),
            "t2s_concat_01": fused,
            "roi_feat": crop_regions(fused, boxes, size=7),
            "temporal_loc": box_deltas,
            "temporal_coeff": coeff_deltas,
        },
        reference,
    )


@pytest.mark.parametrize("nms", ["cross_class", "per_class"])
def test_detections_and_tracks(run: Run, nms: str) -> None:
    reference = stored(f"detect_{run.variant}_{nms.replace('_class', '').replace('per', 'perclass')}")
    detect, tracker = run.detector(nms), run.tracker()
    for t, predictions in enumerate(run.predictions):
        candidates = predictions.class_logits[0].softmax(dim=-1)[:, 1:].amax(dim=1) > run.score_threshold
        assert int(candidates.sum()) == reference[f"f{t}_n_candidates"]
        found = detect(predictions)
        assert found.labels.tolist() == reference[f"f{t}_det_class"].tolist()
        tracked = tracker.step(Frame(found, run.memory(predictions)))
        assert tracked.track_ids.tolist() == reference[f"f{t}_trk_box_ids"].tolist()
        assert tracked.instances.labels.tolist() == reference[f"f{t}_trk_class"].tolist()
        bits = np.packbits(tracked.instances.masks.binary().flatten(1).numpy(), axis=1)
        np.testing.assert_array_equal(bits, reference[f"f{t}_trk_mask_bits"])
        values = {
            "det_box": found.boxes,
            "det_score": found.scores,
            "det_mask_coeff": found.mask_coeffs,
            "trk_box": tracked.instances.boxes,
            "trk_score": tracked.instances.scores,
            "trk_mask_coeff": tracked.instances.mask_coeffs,
            "trk_mask_sum": tracked.instances.masks.probabilities.sum(dim=(1, 2)),
        }
        if run.model.temporal is not None:
            values["det_centerness"] = found.centerness
            values["trk_centerness"] = tracked.instances.centerness
            values["state_score"] = tracker.tracks.instances.scores
            assert tracker.tracks.ages.tolist() == reference[f"f{t}_state_tracked_mask"].tolist()
        for name, got in values.items():
            wanted = reference[f"f{t}_{name}"]
            assert deviation(got, wanted.reshape(got.shape)) < TOLERANCE, (t, name)


def first_frame(track: TrackResult) -> int:
    return next(t for t, rle in enumerate(track.segmentations) if rle is not None)


@pytest.mark.parametrize("run", [R50], indirect=True)
def test_results_at_the_size_of_the_video(run: Run) -> None:
    run.model.detector = run.detector("cross_class")
    segmenter = VideoSegmenter(run.model, tracker=run.tracker(), preprocessor=SIZE)
    builder = VideoResultBuilder(1)
    frames = json.loads((DATA / "post_frames.json").read_text())
    for t, frame in enumerate(run.frames):
        tracked = segmenter.step(frame)
        assert tracked.track_ids.tolist() == frames[str(t)]["box_ids"]
        boxes = tracked.boxes_at((360, 640)).long()  # theirs are cut off, not rounded outwards
        np.testing.assert_array_equal(boxes, frames[str(t)]["box"])
        builder.add(tracked, tracked.cropped_masks_at((360, 640)))
    tracks = sorted(builder.build(len(run.frames)).tracks, key=first_frame)  # the order of the authors' file
    wanted = json.loads((DATA / "post_results.json").read_text())
    assert [track.label for track in tracks] == [entry["category_id"] for entry in wanted]
    best = max(entry["score"] for entry in wanted)
    for track, entry in zip(tracks, wanted, strict=True):
        assert track.score == pytest.approx(entry["score"], abs=TOLERANCE * best)
        assert list(track.segmentations) == entry["segmentations"]  # to the last bit of each mask


def test_each_quirk_is_needed(run: Run) -> None:
    """Without its quirks the same weights give other numbers: the stored ones do test them."""
    clean = build(run.variant, quirks=False)(SIZE(run.frames[0])[None])
    reference = stored(f"stages_{run.variant}")
    step = int(reference["centerness__step"])
    assert deviation(clean.centerness.numpy().ravel()[::step], reference["centerness"].ravel()) > 0.1
    detections = stored(f"detect_{run.variant}_perclass")
    undone = {
        "suppress": lambda self, *arguments, **more: self.nms(*arguments, **more),
        "squash": staticmethod(lambda mask_coeffs: mask_coeffs),
        "binarise": staticmethod(lambda masks: masks),
    }
    released = run.detector("per_class")
    for quirk, instead in undone.items() if isinstance(released, UnfusedDetector) else ():
        lacking = type("Lacking", (UnfusedDetector,), {quirk: instead})
        found = lacking(score_threshold=released.score_threshold, nms=released.nms)(run.predictions[0])
        same = (
            len(found) == len(detections["f0_det_score"])
            and deviation(found.scores, detections["f0_det_score"]) < TOLERANCE
            and deviation(found.mask_coeffs, detections["f0_det_mask_coeff"]) < TOLERANCE
            and deviation(found.masks.probabilities.sum(dim=(1, 2)), detections["f0_trk_mask_sum"]) < TOLERANCE
        )
        assert not same, quirk
