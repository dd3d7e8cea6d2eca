from __future__ import annotations

from functools import partial

import pytest
import torch

from stmask.ops.nms import CrossClassNMS, Kept, PerClassNMS, unsuppressed

NMS = CrossClassNMS | PerClassNMS


def suppress(nms: NMS, boxes: torch.Tensor, scores: torch.Tensor) -> Kept:
    return nms(boxes, scores, torch.ones(len(boxes)))


# Three boxes in a row, each overlapping the next by IoU 0.6 but not the one after (0.33); and one far away.
CHAIN = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.1, 0.0, 0.5, 0.4], [0.2, 0.0, 0.6, 0.4], [0.8, 0.8, 0.9, 0.9]])


def test_a_dropped_box_still_drops_others() -> None:
    # A sequential suppression would keep the third box, as the second is gone when its turn comes.
    assert unsuppressed(CHAIN, iou_threshold=0.5).tolist() == [True, False, False, True]


@pytest.mark.parametrize(("threshold", "kept"), [(0.61, [True] * 4), (0.59, [True, False, False, True])])
def test_an_iou_at_the_threshold_is_not_an_overlap(threshold: float, kept: list[bool]) -> None:
    assert unsuppressed(CHAIN, iou_threshold=threshold).tolist() == kept
    twins = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5]])  # IoU exactly 0.5
    assert unsuppressed(twins, iou_threshold=0.5).tolist() == [True, True]


def test_cross_class_takes_the_best_class_and_sorts_by_score() -> None:
    boxes = CHAIN[[0, 1, 3]]
    scores = torch.tensor([[0.1, 0.3, 0.0], [0.6, 0.2, 0.1], [0.0, 0.0, 0.7]])
    kept = suppress(CrossClassNMS(), boxes, scores)
    assert kept.indices.tolist() == [2, 1]
    assert kept.labels.tolist() == [3, 1]
    assert kept.scores.tolist() == pytest.approx([0.7, 0.6])


@pytest.mark.parametrize(("limit", "kept"), [(None, [0, 3]), (0.5, [0, 3]), (0.7, [0, 1, 3])])
def test_boxes_of_different_classes_may_overlap_more(limit: float | None, kept: list[int]) -> None:
    """The chain as classes 1, 2, 2: the second goes only by the first, the third by the second, gone or not."""
    scores = torch.tensor([[0.9, 0.0], [0.0, 0.8], [0.0, 0.7], [0.6, 0.0]])
    nms = CrossClassNMS(other_class_iou=limit)
    assert suppress(nms, CHAIN, scores).indices.tolist() == kept
    classes = scores.argmax(dim=1)[None]
    indices, filled = nms.kept(CHAIN[None], classes, torch.ones(1, 4, dtype=torch.bool))
    assert indices[filled].tolist() == kept


def test_per_class_keeps_a_box_under_each_class_that_scores() -> None:
    boxes = CHAIN[[0, 1]]
    scores = torch.tensor([[0.5, 0.3], [0.4, 0.6]])
    kept = suppress(PerClassNMS(), boxes, scores)
    assert list(zip(kept.indices.tolist(), kept.labels.tolist(), strict=True)) == [(1, 2), (0, 1)]


def test_per_class_drops_what_does_not_score_more_than_the_minimum() -> None:
    kept = suppress(partial(PerClassNMS(), score_threshold=0.5), CHAIN[[0, 3]], torch.tensor([[0.5, 0.0], [0.0, 0.6]]))
    assert kept.indices.tolist() == [1]


def test_equal_scores_keep_their_order() -> None:
    boxes = torch.rand(30, 2).mul(0.001).repeat(1, 2) + torch.arange(30)[:, None] / 30
    boxes[:, 2:] += 0.01
    kept = suppress(CrossClassNMS(), boxes, torch.full((30, 4), 0.25))
    assert kept.indices.tolist() == list(range(30))
    assert kept.labels.tolist() == [1] * 30


@pytest.mark.parametrize("nms", [CrossClassNMS(top_k=5), PerClassNMS(top_k=5)])
def test_top_k_limits_what_is_compared(nms: NMS) -> None:
    boxes = torch.eye(8)[:, :4] * 0 + torch.arange(8)[:, None] + torch.tensor([0.0, 0.0, 0.5, 0.5])
    scores = torch.linspace(0.9, 0.2, 8)[:, None]
    assert suppress(nms, boxes, scores).indices.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("nms", [CrossClassNMS(max_detections=2), PerClassNMS(max_detections=2)])
def test_max_detections_keeps_the_best(nms: NMS) -> None:
    boxes = torch.arange(4)[:, None] + torch.tensor([0.0, 0.0, 0.5, 0.5])
    scores = torch.tensor([[0.2, 0.1], [0.9, 0.1], [0.1, 0.8], [0.3, 0.1]])
    kept = suppress(nms, boxes, scores)
    assert kept.indices.tolist() == [1, 2]
    assert kept.labels.tolist() == [1, 2]


@pytest.mark.parametrize("nms", [CrossClassNMS(), PerClassNMS()])
def test_nothing_in_nothing_out(nms: NMS) -> None:
    kept = suppress(nms, torch.zeros(0, 4), torch.zeros(0, 40))
    assert kept.indices.shape == kept.labels.shape == kept.scores.shape == (0,)
    assert kept.labels.dtype == torch.int64


def test_quality_scales_scores_and_does_not_choose_the_class() -> None:
    boxes = CHAIN[[0, 3, 1]]
    probabilities = torch.tensor([[0.6, 0.4], [0.5, 0.3], [0.1, 0.7]])
    quality = torch.tensor([0.5, 1.0, -1.0])
    across = CrossClassNMS()(boxes, probabilities, quality)
    assert across.indices.tolist() == [1, 0]
    assert across.scores.tolist() == pytest.approx([0.5, 0.3])
    alone = CrossClassNMS()(boxes[2:], probabilities[2:], quality[2:])
    assert alone.labels.tolist() == [2]
    assert alone.scores.tolist() == pytest.approx([-0.7])
    per_class = PerClassNMS()(boxes, probabilities, quality, score_threshold=0.0)
    assert list(zip(per_class.indices.tolist(), per_class.labels.tolist(), strict=True)) == [
        (1, 1),
        (0, 1),
        (1, 2),
        (0, 2),
    ]
