"""MaskTrack R-CNN gives the numbers of mmtracking's, from the backbone to tracks, losses and gradients."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from official.masktrack_reference import DATA, SCORE_THRESHOLD, SIZE, build, stored, training_pair
from official.reference import check, deviation
from official.reference import stored as stored_beside
from torch import Tensor

from stmask.models.masktrack_rcnn import RegionDetector, RegionLoss
from stmask.models.masktrack_rcnn.boxes import REGION_SCALES, decode
from stmask.models.masktrack_rcnn.matching import sample
from stmask.official.keys import to_official
from stmask.official.masktrack import MMDET
from stmask.official.quirks import SharingTracker
from stmask.structures import Frame, Placement
from stmask.tracking import MemoryTracker, SoftmaxScores

TOLERANCE = 1e-4
IMAGE = (180, 320)
INPUT = torch.tensor([320.0, 192.0, 320.0, 192.0])
TERMS = {
    "loss_rpn_cls": "objectness",
    "loss_rpn_bbox": "proposal",
    "loss_cls": "class",
    "loss_bbox": "box",
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
def found(model: Any, frames: Tensor) -> list[Frame]:
    model.detector = RegionDetector(score_threshold=SCORE_THRESHOLD)
    with torch.inference_mode():
        return [model.detect_within(frame[None], image_size=IMAGE)[0] for frame in frames]


def test_stages(model: Any, frames: Tensor) -> None:
    reference, heads = stored("stages"), model.heads
    with torch.inference_mode():
        maps, backbone = model(frames[:1]), model.backbone(frames[:1])
        for name in ("C2", "C3", "C4", "C5"):
            check(name.lower(), backbone[name], reference)
        for number, anchors in enumerate(model.proposer.anchors(maps.levels)):
            check(f"p{number + 2}", maps.levels[number], reference)
            check(f"rpn_cls_p{number + 2}", maps.objectness[number], reference)
            check(f"rpn_reg_p{number + 2}", maps.box_deltas[number], reference)
            check(f"anchors_p{number + 2}", anchors, reference)
        boxes = torch.from_numpy(reference["fixed_boxes"])
        assert heads.pooler.level_of(boxes).tolist() == reference["fixed_levels"].tolist()
        regions, squares = heads.box_regions(maps.levels, [boxes]), heads.mask_regions(maps.levels, [boxes])
        logits, deltas = heads.box(regions)
        features = heads.track(regions)
        given = {
            "roi_box_feat": regions,
            "box_cls": logits.roll(-1, 1),  # theirs has the background last
            "box_reg": deltas.flatten(1),
            "box_decoded": decode(deltas, boxes[:, None], scales=REGION_SCALES, image_size=IMAGE),
            "roi_mask_feat": squares,
            "mask_logits": heads.mask(squares),
            "track_embed": features,
            "track_logits": torch.cat([torch.zeros(8, 1), features @ features[:5].t()], dim=1),
        }
    for name, value in given.items():
        check(name, value, reference)


def test_proposals(model: Any, frames: Tensor) -> None:
    """As sets, since scores are as near as 6e-7."""
    reference = stored("stages")
    with torch.inference_mode():
        ((boxes, scores),) = model.proposer.with_scores(model(frames[:1]), [IMAGE])
    ways = torch.cdist(boxes, torch.from_numpy(reference["proposal_box"]), p=torch.inf)
    assert sorted(ways.argmin(dim=1).tolist()) == list(range(200))
    assert float(ways.amin(dim=1).max()) < TOLERANCE * 320
    assert deviation(scores, reference["proposal_score"]) < TOLERANCE


def test_detections(found: list[Frame]) -> None:
    reference, place = stored("detect"), Placement(IMAGE, (192, 320))
    for t, frame in enumerate(found):
        instances = frame.instances
        assert deviation(instances.boxes * INPUT, reference[f"f{t}_det_box"]) < TOLERANCE
        assert deviation(instances.scores, reference[f"f{t}_det_score"]) < 5e-4
        assert (instances.labels - 1).tolist() == reference[f"f{t}_det_label"].tolist()
        bits = np.packbits(instances.masks.at(IMAGE, placement=place).numpy().reshape(len(instances), -1), axis=1)
        assert not ((bits ^ reference[f"f{t}_det_mask_bits"]) & ~reference[f"f{t}_det_mask_unsure_bits"]).any()


def test_detections_in_a_larger_video(found: list[Frame]) -> None:
    reference, place = stored("detect"), Placement(IMAGE, (192, 320))
    for t, frame in enumerate(found[:3]):
        assert deviation(place.boxes_at(frame.instances.boxes, (360, 640)), reference[f"large{t}_det_box"]) < TOLERANCE
        areas = frame.instances.masks.at((360, 640), placement=place).flatten(1).sum(dim=1).numpy()
        assert (np.abs(areas - reference[f"large{t}_det_mask_area"]) <= reference[f"large{t}_det_mask_unsure"]).all()


def test_tracks(found: list[Frame]) -> None:
    reference = stored("detect")
    tracker = SharingTracker(scorer=SoftmaxScores(), forget_after=19)
    for t, frame in enumerate(found):
        if tracker.tracks is not None:
            compared = SoftmaxScores()(frame.instances, tracker.tracks.instances)
            table = torch.cat([compared.new[:, None], compared.values], dim=1).numpy()
            np.testing.assert_allclose(table, reference[f"f{t}_match_score"], rtol=1e-4, atol=1e-3)
        assert tracker.step(frame).track_ids.tolist() == reference[f"f{t}_trk_id"].tolist()


def test_no_identity_twice_in_a_frame(found: list[Frame]) -> None:
    """Theirs has some twice here; the better detection has it."""
    reference = stored("detect")
    twice = [ids for t in range(6) if len(set(ids := reference[f"f{t}_trk_id"].tolist())) < len(ids)]
    assert twice
    tracker = MemoryTracker(scorer=SoftmaxScores(), forget_after=19)
    for frame in found:
        ids = tracker.step(frame).track_ids.tolist()
        assert len(set(ids)) == len(ids)


class FirstClassAlone(RegionLoss):
    """mmdet 3.3.0's mistake."""

    def show_objects(self, labels: Tensor) -> Tensor:
        return (labels == 1).float()


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(case: str, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = {"anchor_samples": 10**6, "region_samples": 10**6} if "_all_" in case else {}
    monkeypatch.setattr(model, "loss", (FirstClassAlone if "as_is" in case else RegionLoss)(**everything))
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    proposals = [torch.from_numpy(stored("targets")["proposals"])] if case.endswith("given") else None
    model.zero_grad(set_to_none=True)
    report = model.train().losses(training_pair(), generator=torch.Generator(), proposals_px=proposals)
    report.total.backward()
    model.eval()
    terms = {theirs: report.terms[ours].item() for theirs, ours in TERMS.items()}
    assert terms == pytest.approx({name: CASES[case]["terms"][name] for name in TERMS}, rel=1e-5)
    assert report.counts["positive_anchors"] == CASES[case]["counts"]["rpn_pos"]
    assert report.counts["positive_regions"] == CASES[case]["counts"]["box_pos"]
    norms = {
        to_official(name, MMDET): None if value.grad is None else value.grad.double().norm().item()
        for name, value in model.named_parameters()
    }
    wanted = CASES[case]["grad_norm"]
    assert norms.keys() == wanted.keys()
    assert {name for name, norm in norms.items() if norm is None} == {n for n, norm in wanted.items() if norm is None}
    trained = {name: norm for name, norm in wanted.items() if norm is not None}
    assert {name: norms[name] for name in trained} == pytest.approx(trained, rel=2e-3, abs=1e-9)


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("given")])
def test_matches(case: str, model: Any) -> None:
    reference, pair = stored("targets"), training_pair()
    boxes, none = pair.targets[0][0].boxes * INPUT, torch.zeros(0, 4)
    anchors = torch.cat(model.proposer.anchors([torch.zeros(1, 1, 192 // s, 320 // s) for s in (4, 8, 16, 32, 64)]))
    shown = model.loss.anchor_matcher(anchors, boxes, crowds_px=none)
    assert shown[shown >= 0].tolist() == (reference[f"{case}/rpn_pos_assigned_gt"]).tolist()
    assert (shown >= 0).nonzero().flatten().tolist() == reference[f"{case}/rpn_pos_inds"].tolist()
    shown = model.loss.region_matcher(torch.from_numpy(reference["proposals"]), boxes, crowds_px=none)
    shown = torch.cat([torch.arange(len(boxes)), shown])  # the objects themselves come first
    if "_all_" in case:
        chosen = sample(shown, 10**6, positive_share=0.25, generator=torch.Generator())
        assert chosen.positive.tolist() == reference[f"{case}/box_pos_inds"].tolist()
        assert chosen.objects.tolist() == reference[f"{case}/box_pos_assigned_gt"].tolist()
