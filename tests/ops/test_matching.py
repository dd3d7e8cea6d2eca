"""Anchor matching, scenario by scenario."""

from __future__ import annotations

import pytest
import torch

from stmask.ops.boxes import to_centres
from stmask.ops.matching import AnchorMatcher, AnchorMatches

PLAIN = AnchorMatcher(ambiguous=False, quality=False)


def match(matcher: AnchorMatcher, anchors: list[list[float]], boxes: list[list[float]]) -> AnchorMatches:
    n = len(boxes)
    return matcher(
        to_centres(torch.tensor(anchors)),
        torch.tensor(boxes).view(n, 4),
        labels=torch.arange(1, n + 1),
        track_ids=torch.arange(n) + 7,
        class_logits=torch.zeros(len(anchors), n + 1),
    )


def test_thresholds() -> None:
    box = [0.0, 0.0, 0.4, 1.0]
    anchors = [box, [0.0, 0.0, 0.4, 0.6], [0.0, 0.0, 0.4, 0.45], [0.0, 0.0, 0.4, 0.3]]  # IoU 1, .6, .45, .3
    matches = match(PLAIN, anchors, [box])
    assert matches.labels.tolist() == [1, 1, -1, 0]
    assert matches.track_ids.tolist() == [7, 7, 0, 0]


def test_every_object_keeps_its_best_anchor() -> None:
    matches = match(PLAIN, [[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0]], [[0.9, 0.9, 1.0, 1.0]])
    assert matches.labels.tolist() == [0, 1]


def test_two_objects_with_one_best_anchor_get_one_each() -> None:
    anchors = [[0.0, 0.0, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9], [0.0, 0.0, 0.3, 0.3]]
    boxes = [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.48]]
    matches = match(PLAIN, anchors, boxes)
    assert matches.labels[0] == 1  # the closer one has it
    assert matches.labels[2] == 2  # the other is content with its second best


def test_an_anchor_between_two_objects_is_neutral() -> None:
    anchors = [[0.0, 0.0, 0.4, 1.0], [0.02, 0.0, 0.42, 1.0], [0.04, 0.0, 0.44, 1.0]]
    boxes = [[0.0, 0.0, 0.4, 1.0], [0.04, 0.0, 0.44, 1.0]]
    assert match(AnchorMatcher(quality=False), anchors, boxes).labels.tolist() == [1, -1, 2]
    assert match(PLAIN, anchors, boxes).labels[1] != -1


def test_a_better_class_prediction_makes_an_anchor_closer() -> None:
    box = [0.0, 0.0, 0.4, 1.0]
    anchors = torch.tensor([box, [0.0, 0.0, 0.4, 0.6], [0.0, 0.0, 0.4, 0.6]])
    logits = torch.tensor([[0.0, 9.0], [0.0, 9.0], [9.0, 0.0]])  # the third is sure that it sees background
    matches = AnchorMatcher(ambiguous=False)(
        to_centres(anchors),
        torch.tensor([box]),
        labels=torch.tensor([1]),
        track_ids=torch.tensor([1]),
        class_logits=logits,
    )
    assert matches.labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize("matcher", [PLAIN, AnchorMatcher()])
def test_no_objects(matcher: AnchorMatcher) -> None:
    matches = match(matcher, [[0.0, 0.0, 1.0, 1.0]], [])
    assert matches.labels.tolist() == [0]
    assert not matches.positive.any()


def test_more_objects_than_anchors() -> None:
    boxes = [[0.1 * i, 0.0, 0.1 * i + 0.1, 0.1] for i in range(5)]
    assert match(PLAIN, [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.1, 0.1]], boxes).positive.all()


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="negative_iou <= positive_iou"):
        AnchorMatcher(positive_iou=0.4, negative_iou=0.5)


def test_background_inside_a_crowd_is_neutral() -> None:
    box = [0.0, 0.0, 0.4, 0.4]
    anchors = [box, [0.6, 0.6, 0.8, 0.8], [0.4, 0.6, 0.6, 0.8], [0.0, 0.8, 0.2, 1.0]]
    how = {"class_logits": torch.zeros(4, 2), "crowds": torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.55, 0.5, 1.0, 1.0]])}
    some = PLAIN(
        to_centres(torch.tensor(anchors)),
        torch.tensor([box]),
        labels=torch.tensor([1]),
        track_ids=torch.tensor([7]),
        **how,
    )
    assert some.labels.tolist() == [1, -1, 0, 0]  # an object in a crowd stays one; a quarter inside is not enough
    none = PLAIN(
        to_centres(torch.tensor(anchors)),
        torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        track_ids=torch.zeros(0, dtype=torch.int64),
        **how,
    )
    assert none.labels.tolist() == [-1, -1, 0, 0]
