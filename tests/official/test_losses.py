"""Losses and gradients of the authors' training step."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from official.reference import DATA, R50, R50_ADA, R50_PLAIN, build, stored

from stmask.models.stmask import DensePredictions
from stmask.models.stmask.losses import Criterion, LossWeights
from stmask.official.keys import to_official
from stmask.official.quirks import ReleasedCriterion
from stmask.ops.frames import FramePreprocessor
from stmask.structures import FrameTargets

SMOOTH_L1 = "STMask_plus_resnet50_use_boxiou_loss"  # the option that they set to False there
NAMES = {
    "box": "BIoU",
    "mask": "M",
    "class": "C",
    "centerness": "center",
    "shift_box": "B_shift",
    "shift_mask": "M_shift",
    "track": "T",
}


def release_criterion(**changes: Any) -> Criterion:
    """The criterion with the quirks of the release."""
    return ReleasedCriterion(**changes)


def batch() -> tuple[torch.Tensor, tuple[FrameTargets, ...]]:
    arrays = stored("train_batch")
    pairs = [(i, j) for i in range(2) for j in range(2)]
    resize = FramePreprocessor(height=180, width=320)
    targets = tuple(
        FrameTargets(
            boxes=torch.from_numpy(arrays[f"boxes_{i}_{j}"]).float(),
            labels=torch.from_numpy(arrays[f"labels_{i}_{j}"]).long(),
            masks=torch.from_numpy(arrays[f"masks_{i}_{j}"]).bool(),
            track_ids=torch.from_numpy(arrays[f"ids_{i}_{j}"]).long(),
        )
        for i, j in pairs
    )
    return torch.stack([resize(arrays["imgs_u8"][i, j]) for i, j in pairs]), targets


def assert_terms_and_gradients(
    case: str,
    model: Any,
    predictions: DensePredictions,
    targets: tuple[FrameTargets, ...],
    *,
    names: dict[str, str],
    **changes: Any,
) -> None:
    reference = json.loads((DATA / f"losses_{case}.json").read_text())
    report = release_criterion(**changes)(predictions, targets, clip_length=2, temporal=model.temporal)
    assert {names[name] for name in report.terms} == set(reference["terms"])
    for name, value in report.terms.items():
        assert float(value.detach()) == pytest.approx(reference["terms"][names[name]], rel=1e-5), name
    assert float(report.total.detach()) == pytest.approx(reference["total"], rel=1e-5)
    model.zero_grad()
    report.total.backward(retain_graph=True)
    for name, parameter in model.named_parameters():
        norm = None if parameter.grad is None else float(parameter.grad.norm())
        wanted = reference["grad_norm"][to_official(name)]
        assert norm == (None if wanted is None else pytest.approx(wanted, rel=2e-3)), name


@pytest.mark.slow
@pytest.mark.parametrize("variant", [R50_ADA, R50_PLAIN])
def test_terms_and_gradients(variant: str) -> None:
    model = build(variant).train()
    frames, targets = batch()
    assert_terms_and_gradients(variant, model, model(frames), targets, names=NAMES)


@pytest.mark.slow
def test_one_forward_pass_to_targets_and_both_losses_of_boxes() -> None:
    model = build(R50).train()
    frames, targets = batch()
    predictions = model(frames)
    assert_targets(predictions, targets)
    assert_terms_and_gradients(R50, model, predictions, targets, names=NAMES)
    weights = LossWeights(box=1.5)
    names = {**NAMES, "box": "B"}
    assert_terms_and_gradients(
        SMOOTH_L1, model, predictions, targets, names=names, box_loss="smooth_l1", weights=weights
    )


def assert_targets(predictions: DensePredictions, targets: tuple[FrameTargets, ...]) -> None:
    reference, matcher = stored(f"losses_{R50}"), Criterion().matcher
    for frame, target in enumerate(targets):
        matches = matcher(
            predictions.anchors,
            target.boxes,
            labels=target.labels,
            track_ids=target.track_ids,
            class_logits=predictions.class_logits[frame].detach(),
        )
        assert matches.labels.tolist() == reference["conf_t"][frame].tolist()
        positive = matches.positive.numpy()
        assert matches.objects.numpy()[positive].tolist() == reference["idx_t"][frame][positive].tolist()
        assert matches.track_ids.numpy()[positive].tolist() == reference["ids_t"][frame][positive].tolist()


def test_the_clean_class_loss_is_another() -> None:
    """Weights and costs meet only where all positives come before all negatives."""
    labels = torch.tensor([[1, 0, 2, 0, 0, 0, 0, 0]])
    logits = torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([0.9, 0.1])
    clean, released = Criterion().class_cost, ReleasedCriterion().class_cost
    assert not torch.isclose(clean(logits, labels, weights), released(logits, labels, weights))
    order = torch.tensor([0, 2, 1, 3, 4, 5, 6, 7])
    sorted_logits, sorted_labels = logits[:, order], labels[:, order]
    torch.testing.assert_close(
        clean(sorted_logits, sorted_labels, weights), released(sorted_logits, sorted_labels, weights)
    )
