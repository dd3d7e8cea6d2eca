from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from tracking.scenes import Shift, detections, memory

from stmask.models.stmask.propagation import propagate


def test_boxes_masks_and_scores_move_identity_stays() -> None:
    before = detections((0, 0.1, 0.8), (1, 0.5, 0.4))
    after = propagate(before, reference=memory(), target=memory(Shift(dx=0.5)), score_decay=0.95)
    moved = before.boxes + torch.tensor([0.15, 0.0, 0.15, 0.0])
    torch.testing.assert_close(after.boxes, moved)
    torch.testing.assert_close(after.scores, before.scores * 0.95)
    assert after.embeddings is before.embeddings
    assert after.labels is before.labels
    assert after.centerness is before.centerness
    columns = (after.masks.probabilities[0] > 0.5).any(dim=0).nonzero().flatten()
    assert (columns.min(), columns.max()) == (4, 11)  # 0.25 .. 0.55 of 20 cells, one cell of margin


def test_coefficients_are_added_before_tanh() -> None:
    class Coefficients(Shift):
        def __call__(self, fused: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
            deltas, coeffs = super().__call__(fused, boxes)
            return deltas, coeffs - 6.0

    before = detections((0, 0.1, 0.8))
    after = propagate(before, reference=memory(), target=memory(Coefficients()), score_decay=1.0)
    assert (after.mask_coeffs == -3.0).all()
    inside = after.masks.probabilities[0] > 0
    expected = (4 * torch.tensor(-3.0).tanh()).sigmoid()
    torch.testing.assert_close(after.masks.probabilities[0][inside], expected.expand(int(inside.sum())))


def test_no_instances_ask_nothing() -> None:
    module = Shift()
    assert len(propagate(detections(), reference=memory(), target=memory(module), score_decay=0.95)) == 0
    assert module.asked == []


def test_predictions_without_temporal_features_are_refused() -> None:
    bare = replace(memory(), features=None)
    with pytest.raises(ValueError, match="temporal features"):
        propagate(detections((0, 0.1, 0.8)), reference=bare, target=memory(), score_decay=0.95)


@pytest.mark.parametrize("delta", [1e3, -1e3, float("nan")])
def test_boxes_stay_finite_however_long_they_drift(delta: float) -> None:
    class Growth(Shift):
        def __call__(self, fused: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
            deltas, coeffs = super().__call__(fused, boxes)
            return torch.full_like(deltas, delta), coeffs

    drifting = detections((0, 0.1, 0.8))
    for _ in range(5):
        drifting = propagate(drifting, reference=memory(), target=memory(Growth()), score_decay=0.95)
    assert drifting.boxes.isfinite().all()
    assert drifting.masks.probabilities.isfinite().all()
