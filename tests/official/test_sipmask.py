"""SipMask gives the numbers of its authors' code, from the backbone to tracks, losses and gradients."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from official.reference import check, deviation
from official.reference import stored as stored_beside
from official.sipmask_reference import DATA, SCORE_THRESHOLD, SIZE, build, stored, training_pairs
from torch import Tensor

from stmask.models.layers.fcos import PointMatcher, Points
from stmask.models.sipmask import PointDetector
from stmask.official.keys import to_official
from stmask.official.sipmask import SIPMASK
from stmask.structures import Frame, Placement
from stmask.tracking import SoftmaxScores

TOLERANCE = 1e-4
IMAGE = (180, 320)
INPUT = torch.tensor([320.0, 192.0, 320.0, 192.0])
LAST_PIXEL = torch.tensor([0.0, 0, 1, 1])
TERMS = {
    "loss_cls": "class",
    "loss_bbox": "box",
    "loss_centerness": "centreness",
    "loss_mask": "mask",
    "loss_match": "track",
}
CASES = json.loads((DATA / "losses.json").read_text())


@pytest.fixture(scope="module")
def model() -> Any:
    return build()


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.stack([SIZE(frame) for frame in stored_beside("clip")["frames"]])


@pytest.fixture(scope="module")
def found(model: Any, frames: Tensor) -> dict[float, list[Frame]]:
    """The frames of the clip by the score threshold."""
    results = {}
    for threshold, count in ((SCORE_THRESHOLD, 6), (0.03, 3)):
        model.detector = PointDetector(score_threshold=threshold)
        with torch.inference_mode():
            results[threshold] = [model.detect_within(frame[None], image_size=IMAGE)[0] for frame in frames[:count]]
    return results


def test_stages(model: Any, frames: Tensor) -> None:
    reference = stored("stages")
    with torch.inference_mode():
        backbone, levels = model.backbone(frames[:1]), model.pyramid(frames[:1])
        maps = model.head(levels)
    for name in ("C2", "C3", "C4", "C5"):
        check(name.lower(), backbone[name], reference)
    points = Points.of(maps.class_logits)
    for number, level in enumerate(levels):
        name = f"p{number + 3}"
        check(name, level, reference)
        check(f"points_{name}", points.xy_px[points.levels == number], reference)
        check(f"cls_{name}", maps.class_logits[number], reference)
        check(f"reg_{name}", maps.distances_px[number], reference)
        check(f"ctr_{name}", maps.centreness_logits[number], reference)
        check(f"cof_{name}", maps.coefficients[number], reference)
    check("masks", maps.prototypes, reference)
    check("track", maps.track, reference)


def test_detections(found: dict[float, list[Frame]]) -> None:
    reference = stored("detect")
    for t, frame in enumerate(found[SCORE_THRESHOLD]):
        instances = frame.instances
        assert deviation(instances.boxes * INPUT - LAST_PIXEL, reference[f"f{t}_det_box"]) < TOLERANCE
        assert deviation(instances.scores, reference[f"f{t}_det_score"]) < TOLERANCE
        assert (instances.labels - 1).tolist() == reference[f"f{t}_det_label"].tolist()
        masks = instances.masks.at((192, 320))[:, :180]  # theirs are enlarged with the padding below them
        bits = np.packbits(masks.numpy().reshape(len(instances), -1), axis=1)
        assert not ((bits ^ reference[f"f{t}_mask_bits"]) & ~reference[f"f{t}_mask_unsure_bits"]).any()


def test_the_ten_best_in_a_larger_video(found: dict[float, list[Frame]]) -> None:
    reference, place = stored("detect"), Placement(IMAGE, (192, 320))
    for t, frame in enumerate(found[0.03]):
        assert len(frame.instances) == 10
        boxes = (frame.instances.boxes * INPUT - LAST_PIXEL) * 2
        assert deviation(boxes, reference[f"large_f{t}_det_box"]) < TOLERANCE
        assert (frame.instances.labels - 1).tolist() == reference[f"large_f{t}_det_label"].tolist()
        areas = frame.instances.masks.at((360, 640), placement=place).flatten(1).sum(dim=1).numpy()
        # of masks at the lower border theirs fade into the padding, over the last two rows of the video
        border = (frame.instances.boxes[:, 3] > 179 / 192).numpy() * 2 * 640
        unsure = reference[f"large_f{t}_mask_unsure"]
        assert (np.abs(areas - reference[f"large_f{t}_mask_area"]) <= unsure + border).all()


@pytest.mark.parametrize(("threshold", "prefix"), [(SCORE_THRESHOLD, ""), (0.03, "large_")])
def test_tracks(threshold: float, prefix: str, model: Any, found: dict[float, list[Frame]]) -> None:
    """Of rivals for a track the best has it; theirs leave it with the earlier ones too, whose masks are overwritten."""
    reference, tracker = stored("detect"), model.tracker()
    for t, frame in enumerate(found[threshold]):
        if tracker.tracks is not None:
            compared = SoftmaxScores()(frame.instances, tracker.tracks.instances)
            table = torch.cat([compared.new[:, None], compared.values], dim=1).numpy()
            # in a larger video their boxes are longer by a pixel of the video, ours by one of the input
            atol = 0.02 if prefix else 1e-3
            np.testing.assert_allclose(table, reference[f"{prefix}f{t}_match_score"], rtol=1e-4, atol=atol)
        wanted = {int(i): row for row, i in enumerate(reference[f"{prefix}f{t}_id"]) if i >= 0}
        tracked = tracker.step(frame)
        scores = frame.instances.scores.tolist()
        rows = [scores.index(score) for score in tracked.instances.scores.tolist()]
        assert dict(zip(tracked.track_ids.tolist(), rows, strict=True)) == wanted


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(case: str, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, targets, wanted = {"pair0": (0,), "pairs": (0, 1)}[case], stored("targets"), CASES[case]
    offsets = iter([torch.from_numpy(targets[f"{case}_offsets_{i}"]) for i in pairs])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: next(offsets)[:, :2])
    model.zero_grad(set_to_none=True)
    report = model.train().losses(training_pairs(pairs), generator=torch.Generator())
    report.total.backward()
    model.eval()
    for theirs, ours in TERMS.items():
        assert report.terms[ours].item() == pytest.approx(wanted["terms"][theirs], rel=1e-5), ours
    norms = {str(to_official(name, SIPMASK)): value for name, value in model.named_parameters()}
    assert norms.keys() == wanted["grad_norm"].keys()
    for name, norm in wanted["grad_norm"].items():
        if norm is None:
            assert norms[name].grad is None or not norms[name].requires_grad, name
        else:
            assert norms[name].grad.norm().item() == pytest.approx(norm, rel=2e-3, abs=1e-6), name


def test_which_points_show_what() -> None:
    targets, clip = stored("targets"), training_pairs((0, 1))
    points = Points.of([torch.zeros(1, 1, -(-192 // stride), -(-320 // stride)) for stride in (8, 16, 32, 64, 128)])
    got = PointMatcher(extent=1.0)(points, [row[0] for row in clip.targets], input_size=(192, 320))
    assert got.labels.tolist() == targets["pairs_labels"].tolist()
    assert got.objects[got.positive].tolist() == targets["pairs_objects"].tolist()
