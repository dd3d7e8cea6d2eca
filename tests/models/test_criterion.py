from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial

import pytest
import torch

from stmask.errors import ConfigError
from stmask.models.layers import ResNet
from stmask.models.stmask import ComputedBranches, PredictionHead, STMask, TemporalFusion
from stmask.models.stmask.losses import Criterion, LossWeights
from stmask.models.stmask.losses.positives import Positives
from stmask.ops.matching import AnchorMatcher
from stmask.structures import FrameTargets, empty_targets

SIZE = 64


@pytest.fixture(scope="module")
def model() -> STMask:
    torch.manual_seed(0)
    return STMask(
        backbone=ResNet(depth=18),
        num_classes=3,
        channels=16,
        num_prototypes=4,
        head=partial(PredictionHead, embedding_dim=8),
        temporal=partial(TemporalFusion, size=3, hidden=(8, 8)),
    )


def one_object(track_id: int, left: float) -> FrameTargets:
    masks = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    masks[0, 16:40, int(left * SIZE) : int(left * SIZE) + 32] = True
    box = torch.tensor([[left, 0.25, left + 0.5, 0.625]])
    return FrameTargets(box, torch.tensor([2]), masks, torch.tensor([track_id]))


def run(model: STMask, *targets: FrameTargets, **changes: object) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    predictions = model(torch.randn(len(targets), 3, SIZE, SIZE))
    criterion = Criterion(**changes)  # type: ignore[arg-type]
    return criterion(predictions, targets, clip_length=2, temporal=model.temporal).terms


def test_frames_without_objects_cost_nothing_and_touch_every_parameter(model: STMask) -> None:
    terms = run(model, empty_targets(SIZE, SIZE), empty_targets(SIZE, SIZE))
    assert all(value.item() == 0 for value in terms.values())
    model.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_an_object_that_leaves_has_no_shift(model: STMask) -> None:
    terms = run(model, one_object(1, 0.1), empty_targets(SIZE, SIZE))
    assert terms["shift_box"] == terms["shift_mask"] == 0
    assert terms["box"] > 0


def test_an_object_that_moves_has_one(model: STMask) -> None:
    terms = run(model, one_object(1, 0.1), one_object(1, 0.3))
    assert terms["shift_box"] > 0
    assert terms["shift_mask"] > 0


def test_the_same_id_in_two_clips_is_two_objects(model: STMask) -> None:
    """Annotation files may count identities anew in each video."""
    one_clip = (one_object(1, 0.1), one_object(1, 0.3))
    another_id = (one_object(2, 0.1), one_object(2, 0.3))
    same = run(model, *one_clip, *one_clip)["track"]
    different = run(model, *one_clip, *another_id)["track"]
    torch.testing.assert_close(same, different)


def test_weights_scale_terms_and_zero_leaves_them_out(model: STMask) -> None:
    targets = (one_object(1, 0.1), one_object(1, 0.3))
    base = run(model, *targets)
    double = run(model, *targets, weights=LossWeights(box=10.0, mask=0.0, shift_box=0.0, shift_mask=0.0))
    torch.testing.assert_close(double["box"], 2 * base["box"])
    assert set(double) == {"box", "class", "centerness", "track"}


NOTHING = {field.name: 0.0 for field in fields(LossWeights)}


@pytest.mark.parametrize("left", [*NOTHING])
def test_every_parameter_has_a_gradient_whatever_the_weights(model: STMask, left: str) -> None:
    """DDP waits for ever for the gradient of a parameter that is not in the graph."""
    torch.manual_seed(1)
    predictions = model(torch.randn(2, 3, SIZE, SIZE))
    weights = LossWeights(**(NOTHING | {left: 1.0}))
    targets = (one_object(1, 0.1), one_object(1, 0.3))
    report = Criterion(weights=weights)(predictions, targets, clip_length=2, temporal=model.temporal)
    assert report.idle == 0
    model.zero_grad()
    report.total.backward()
    lacking = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert lacking == []


def test_an_output_that_nothing_learns_from_may_be_infinite(model: STMask) -> None:
    predictions = model(torch.randn(2, 3, SIZE, SIZE))
    mask_coeffs, embeddings = predictions.branches.everywhere()
    infinite = ComputedBranches(mask_coeffs, torch.full_like(embeddings, torch.inf))
    predictions = replace(predictions, branches=infinite)
    criterion = Criterion(weights=LossWeights(track=0.0))
    report = criterion(predictions, (one_object(1, 0.1),) * 2, clip_length=2, temporal=model.temporal)
    assert report.total.isfinite()


def test_weights_of_terms_that_the_network_lacks(model: STMask) -> None:
    criterion = Criterion(weights=LossWeights(**(NOTHING | {"shift_box": 1.0})))
    with pytest.raises(ConfigError, match=r"loss\.weights: only terms that this network lacks"):
        criterion(model(torch.randn(2, 3, SIZE, SIZE)), (one_object(1, 0.1),) * 2, clip_length=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LossWeights(box=-1.0), r"box must be a finite number of at least 0, got -1\.0"),
        (lambda: LossWeights(mask=float("nan")), "mask must be a finite number .*, got nan"),
        (lambda: LossWeights(track=float("inf")), "track must be a finite number .*, got inf"),
        (lambda: LossWeights(**NOTHING), "at least one of box, .* must be above 0"),
        (lambda: Criterion(negative_ratio=-1), "negative_ratio must be an integer of at least 1, got -1"),
        (lambda: Criterion(mask_crop=0), "mask_crop must be a finite number above 0, got 0"),
        (lambda: Criterion(max_masks=0), "max_masks must be an integer of at least 1, got 0"),
        (lambda: AnchorMatcher(crowd_share=1.5), r"crowd_share must be .* at most 1, got 1\.5"),
        (lambda: AnchorMatcher(negative_iou=float("nan")), "negative_iou <= positive_iou"),
    ],
)
def test_numbers_that_make_no_sense(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_draw_of_positives_weighs_as_much_as_all() -> None:
    frames = torch.tensor([0] * 9 + [2] * 3)
    positives = Positives(
        frames=frames,
        anchors=torch.arange(12),
        objects=torch.zeros(12, dtype=torch.int64),
        rows=torch.zeros(12, dtype=torch.int64),
        track_ids=torch.ones(12, dtype=torch.int64),
        weights=torch.ones(12),
        target_boxes=torch.rand(12, 4),
        boxes=torch.rand(12, 4),
        mask_coeffs=torch.rand(12, 2),
        embeddings=torch.rand(12, 2),
    )
    drawn = Criterion(max_masks=4)._limited(positives, None)
    assert torch.bincount(drawn.frames).tolist() == [4, 0, 3]
    assert drawn.anchors.tolist() == sorted(set(drawn.anchors.tolist()))
    torch.testing.assert_close(torch.zeros(3).index_add(0, drawn.frames, drawn.weights), torch.tensor([1.0, 0.0, 1.0]))
    assert len(Criterion(max_masks=None)._limited(positives, None)) == 12


def test_an_unknown_box_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="'giou'"):
        Criterion(box_loss="giou")


def test_crowds_cost_nothing(model: STMask) -> None:
    nothing = empty_targets(SIZE, SIZE)
    crowd = replace(nothing, crowds=torch.tensor([[-1.0, -1.0, 2.0, 2.0]]))
    object_, beside = one_object(1, 0.0), replace(one_object(1, 0.0), crowds=crowd.crowds)
    plain, crowded = run(model, object_, nothing), run(model, beside, crowd)
    assert crowded["class"] < plain["class"]  # no background is left to learn
    assert torch.equal(crowded["box"], plain["box"])


def test_images_by_themselves(model: STMask) -> None:
    """Clips of one frame, without temporal fusion and tracking."""
    torch.manual_seed(1)
    predictions = model(torch.randn(2, 3, SIZE, SIZE))
    criterion = Criterion(weights=LossWeights(track=0.0))
    report = criterion(predictions, (one_object(1, 0.0), one_object(1, 0.5)), clip_length=1)
    assert set(report.terms) == {"box", "class", "centerness", "mask"}
    assert report.total.isfinite()
