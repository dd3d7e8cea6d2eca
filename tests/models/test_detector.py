from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from stmask.models.stmask import ComputedBranches, DensePredictions
from stmask.models.stmask.detector import Detector
from stmask.ops.nms import PerClassNMS

# Four anchors in a row, far enough from each other.
ANCHORS = torch.tensor([[0.1, 0.5, 0.1, 0.2], [0.35, 0.5, 0.1, 0.2], [0.6, 0.5, 0.1, 0.2], [0.85, 0.5, 0.1, 0.2]])


def predictions(probabilities: list[list[float]], centerness: list[float] | None = None) -> DensePredictions:
    """One frame with these class probabilities (background first) on the four anchors; anchor i has coefficients i."""
    logits = torch.tensor(probabilities).log()[None]
    return DensePredictions(
        box_deltas=torch.zeros(1, 4, 4),
        class_logits=logits,
        branches=ComputedBranches(torch.arange(4.0)[None, :, None].expand(1, 4, 2), torch.eye(4)[None]),
        centerness=None if centerness is None else torch.tensor(centerness)[None],
        anchors=ANCHORS,
        prototypes=torch.ones(1, 10, 20, 2),
        temporal_features=None,
    )


BACKGROUND = [1.0, 0.0, 0.0]


def test_selected_anchors_exceed_the_threshold_before_centerness() -> None:
    probs = [[0.8, 0.1, 0.1], [0.3, 0.0, 0.7], BACKGROUND, [0.4, 0.6, 0.0]]
    found = Detector(score_threshold=0.5)(predictions(probs, [1.0, 0.5, 1.0, 0.75]))
    assert found.labels.tolist() == [1, 2]
    assert found.scores.tolist() == pytest.approx([0.45, 0.35])
    assert found.centerness.tolist() == [0.75, 0.5]
    torch.testing.assert_close(found.boxes[0], torch.tensor([0.8, 0.4, 0.9, 0.6]))
    assert found.mask_coeffs[:, 0].tolist() == [3.0, 1.0]
    assert found.embeddings.argmax(dim=1).tolist() == [3, 1]


def test_an_anchor_at_the_threshold_is_not_selected() -> None:
    probs = [[0.5, 0.5, 0.0], [0.25, 0.75, 0.0], BACKGROUND, BACKGROUND]
    assert len(Detector(score_threshold=0.5)(predictions(probs))) == 1


def test_without_the_centerness_branch_the_score_is_the_class_probability() -> None:
    found = Detector()(predictions([[0.2, 0.8, 0.0], BACKGROUND, BACKGROUND, BACKGROUND]))
    assert found.scores.tolist() == pytest.approx([0.8])
    assert found.centerness.tolist() == [1.0]


def test_masks_lie_in_their_boxes() -> None:
    found = Detector()(predictions([BACKGROUND, [0.2, 0.8, 0.0], BACKGROUND, BACKGROUND]))
    columns = (found.masks.probabilities[0] > 0).any(dim=0).nonzero().flatten()
    assert (columns.min(), columns.max()) == (5, 8)  # 0.3 .. 0.4 of 20 cells, one cell of margin
    assert found.masks.probabilities[0].max() == pytest.approx(float((2 * torch.tensor(1.0).tanh()).sigmoid()))


def test_per_class() -> None:
    probs = [[0.2, 0.4, 0.4], BACKGROUND, BACKGROUND, BACKGROUND]
    found = Detector(nms=PerClassNMS())(predictions(probs))
    assert sorted(found.labels.tolist()) == [1, 2]


def test_each_frame_of_a_batch_has_its_own() -> None:
    one = predictions([[0.2, 0.8, 0.0], BACKGROUND, BACKGROUND, BACKGROUND])
    two = predictions([BACKGROUND, BACKGROUND, [0.1, 0.0, 0.9], BACKGROUND])
    names = ("box_deltas", "class_logits", "prototypes")
    batch = replace(
        one,
        **{name: torch.cat([getattr(one, name), getattr(two, name)]) for name in names},
        branches=ComputedBranches(*(value.expand(2, -1, -1) for value in one.branches.everywhere())),
    )
    assert [Detector()(batch, i).labels.tolist() for i in range(2)] == [[1], [2]]


@pytest.mark.parametrize("detector", [Detector(), Detector(nms=PerClassNMS())])
def test_nothing_found(detector: Detector) -> None:
    found = detector(predictions([BACKGROUND] * 4, [1.0] * 4))
    assert len(found) == 0
    assert found.masks.probabilities.shape == (0, 10, 20)
    assert found.embeddings.shape == (0, 4)
