"""CondInst gives the numbers of mmdet's, from the pyramid to detections, losses and gradients."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from official.condinst_reference import CASES, DATA, SIZE, build, four_frames, stored
from official.reference import check, deviation
from official.reference import stored as stored_beside
from torch import Tensor

from stmask.models.condinst import CondInstLoss
from stmask.models.condinst.masks import drawn, enlarged
from stmask.models.layers.fcos import PointMatcher
from stmask.official.condinst import CONDINST
from stmask.official.keys import to_official
from stmask.structures import Frame, Placement

TOLERANCE = 1e-4
IMAGE = (180, 320)
INPUT = torch.tensor([320.0, 192.0, 320.0, 192.0])
CELLS = [(24, 40), (12, 20), (6, 10), (3, 5), (2, 3)]  # of P3 .. P7
TERMS = {"loss_cls": "class", "loss_bbox": "box", "loss_centerness": "centreness", "loss_mask": "mask"}
LOSSES = json.loads((DATA / "losses.json").read_text())


@pytest.fixture(scope="module")
def model() -> Any:
    return build()


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.stack([SIZE(frame) for frame in stored_beside("clip")["frames"]])


@pytest.fixture(scope="module")
def found(model: Any, frames: Tensor) -> list[Frame]:
    with torch.inference_mode():
        return [model.detect_within(frame[None], image_size=IMAGE)[0] for frame in frames]


def test_stages(model: Any, frames: Tensor) -> None:
    reference = stored("stages")
    with torch.inference_mode():
        levels, maps = model.pyramid(frames[:1]), model(frames[:1])
    counts = [h * w for h, w in CELLS]
    of_levels = {
        "class": maps.predictions.class_logits,
        "distances": maps.predictions.distances_px,
        "centreness": maps.predictions.centreness_logits[..., None],
        "parameters": maps.filters,
    }
    for number, (size, level) in enumerate(zip(CELLS, levels, strict=True)):
        check(f"p{number + 3}", level, reference)
        for name, values in of_levels.items():
            here = values.split(counts, dim=1)[number]
            check(f"{name}_p{number + 3}", here.transpose(1, 2).unflatten(2, size).contiguous(), reference)
    check("mask_features", maps.features, reference)
    chosen = torch.from_numpy(reference["fixed"])
    points = maps.points
    check("fixed_points", torch.cat([points.xy_px[chosen], points.strides[chosen, None]], dim=1), reference)
    masks = drawn(maps.features[0], maps.filters[0, chosen], xy_px=points.xy_px[chosen], strides=points.strides[chosen])
    check("fixed_masks", masks, reference)
    check("fixed_masks_input", enlarged(masks.sigmoid(), 4), reference)


def test_detections(found: list[Frame]) -> None:
    reference, place = stored("detect"), Placement(IMAGE, (192, 320))
    for t, frame in enumerate(found):
        instances = frame.instances
        assert deviation(instances.boxes * INPUT, reference[f"f{t}_box"]) < TOLERANCE
        assert deviation(instances.scores, reference[f"f{t}_score"]) < TOLERANCE
        assert (instances.labels - 1).tolist() == reference[f"f{t}_label"].tolist()
        bits = np.packbits(instances.masks.at(IMAGE, placement=place).numpy().reshape(len(instances), -1), axis=1)
        assert not ((bits ^ reference[f"f{t}_mask_bits"]) & ~reference[f"f{t}_mask_unsure_bits"]).any()


def test_detections_in_a_larger_video(found: list[Frame]) -> None:
    reference, place = stored("detect"), Placement(IMAGE, (192, 320))
    for t, frame in enumerate(found[:3]):
        assert deviation(place.boxes_at(frame.instances.boxes, (360, 640)), reference[f"large{t}_box"]) < TOLERANCE
        areas = frame.instances.masks.at((360, 640), placement=place).flatten(1).sum(dim=1).numpy()
        assert (np.abs(areas - reference[f"large{t}_mask_area"]) <= reference[f"large{t}_mask_unsure"]).all()


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(case: str, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "loss", CondInstLoss(max_masks=5) if case == "few" else CondInstLoss())
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    clip, before = four_frames(case), {name: value.clone() for name, value in model.named_buffers()}
    model.zero_grad(set_to_none=True)
    report = model.train().losses(clip, generator=torch.Generator())
    report.total.backward()
    model.eval()
    after = {str(to_official(name, CONDINST)): value.clone() for name, value in model.named_buffers()}
    for name, value in model.named_buffers():
        value.copy_(before[name])
    wanted = LOSSES[case]
    terms = {theirs: report.terms[ours].item() for theirs, ours in TERMS.items()}
    assert terms == pytest.approx(wanted["terms"], rel=1e-5)
    assert report.counts["positive_points"] == sum(wanted["positives"]) / 4
    norms = {
        to_official(name, CONDINST): None if value.grad is None else value.grad.double().norm().item()
        for name, value in model.named_parameters()
    }
    assert norms == {
        name: None if norm is None else pytest.approx(norm, rel=2e-3, abs=1e-9)
        for name, norm in wanted["grad_norm"].items()
    }
    means = {name: after[name].double().norm().item() for name in wanted.get("running_mean", {})}
    assert means == pytest.approx(wanted.get("running_mean", {}), rel=1e-4)


@pytest.mark.parametrize("case", ["all", "large"])
def test_targets(case: str, model: Any, frames: Tensor) -> None:
    reference, clip = stored("targets"), four_frames(case)
    with torch.inference_mode():
        points = model(frames[:1]).points
    shown = PointMatcher(centre="mask")(points, clip.flat_targets, input_size=(192, 320))
    for number, objects in enumerate(shown.objects):
        positive = (objects >= 0).nonzero().flatten()
        assert positive.tolist() == reference[f"{case}/points_{number}"].tolist()
        assert objects[positive].tolist() == reference[f"{case}/objects_{number}"].tolist()
