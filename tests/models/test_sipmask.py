from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stmask.models.layers import ResNet
from stmask.models.sipmask import SipMask, SipMaskLoss
from stmask.models.sipmask.detector import features_at
from stmask.models.sipmask.masks import quarter_logits
from stmask.models.sipmask.rescoring import MaskRescorer, iou_errors
from stmask.structures import Clip, FrameTargets
from stmask.structures.clip import empty_targets


def network() -> SipMask:
    torch.manual_seed(0)
    backbone = ResNet(depth=18, width=16, norm="group")
    return SipMask(backbone=backbone, num_classes=3, channels=16, num_prototypes=4, hidden=16, embedding_dim=8)


def clip_of(*targets: tuple[FrameTargets, FrameTargets]) -> Clip:
    b = len(targets)
    return Clip(
        frames=torch.randn(b, 2, 3, 64, 96, generator=torch.Generator().manual_seed(0)),
        image_sizes=torch.tensor([64, 96]).expand(b, 2, 2),
        targets=targets,
        video_ids=torch.zeros(b, dtype=torch.int64),
        frame_indices=torch.zeros(b, 2, dtype=torch.int64),
    )


def one_object(track_id: int = 1) -> FrameTargets:
    masks = torch.zeros(1, 64, 96, dtype=torch.bool)
    masks[0, 16:48, 24:72] = True
    box = torch.tensor([[24 / 96, 16 / 64, 72 / 96, 48 / 64]])
    return FrameTargets(box, torch.tensor([2]), masks, torch.tensor([track_id]))


@pytest.mark.parametrize("shown", [False, True])
def test_every_weight_has_a_gradient(shown: bool) -> None:
    """Distributed training wants that, also where nothing is annotated."""
    nothing = empty_targets(64, 96)
    clip = clip_of((one_object(), one_object()), (nothing, nothing)) if shown else clip_of((nothing, nothing))
    model = network()
    report = model.losses(clip, generator=torch.Generator().manual_seed(0))
    report.total.backward()
    rest = {name: value.item() for name, value in report.terms.items() if name != "class"}
    assert set(rest) == {"box", "centreness", "mask", "track"}
    assert all(value > 0 for value in rest.values()) if shown else not any(rest.values())
    assert report.counts["positive_points"] == (9 / 2 if shown else 0)
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


def test_an_object_that_the_other_frame_lacks_is_new() -> None:
    """The cross entropy of features that are all alike: log 2 for both."""
    model = network()
    torch.nn.init.zeros_(model.head.track.weight)
    for other in (one_object(1), one_object(7)):
        report = model.losses(clip_of((one_object(1), other)), generator=torch.Generator().manual_seed(0))
        assert report.terms["track"].item() == pytest.approx(0.6931, abs=1e-4)
    torch.nn.init.constant_(model.head.track.bias, 2.0)  # dot products of 8 * 4
    known, new = (
        model.losses(clip_of((one_object(1), other)), generator=torch.Generator().manual_seed(0)).terms["track"]
        for other in (one_object(1), one_object(7))
    )
    assert known.item() == pytest.approx(0, abs=1e-4)
    assert new.item() == pytest.approx(32, abs=1e-3)


def test_the_jitter_comes_from_the_generator() -> None:
    model, clip = network(), clip_of((one_object(), one_object()))
    model.loss = SipMaskLoss(jitter=2.0)
    costs = [
        model.losses(clip, generator=torch.Generator().manual_seed(seed)).terms["track"].item() for seed in (0, 0, 1)
    ]
    assert costs[0] == costs[1] != costs[2]


def test_each_quarter_of_a_box_has_its_own_coefficients() -> None:
    prototypes = torch.ones(1, 6, 7)
    coefficients = torch.tensor([[1.0, 2, 3, 4]])
    logits, inside = quarter_logits(prototypes, coefficients, torch.tensor([[1.0, 0.5, 5, 4.5]]))
    # the middle is a twentieth of a cell beyond the box's, so that cell 3 of 1 .. 5 is on the left
    assert (logits[0].int() * inside[0]).tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 2, 0, 0],
        [0, 1, 1, 1, 2, 0, 0],
        [0, 3, 3, 3, 4, 0, 0],
        [0, 3, 3, 3, 4, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("boxes", [torch.zeros(0, 4), torch.tensor([[5.0, 5, 1, 1], [2, 2, 2, 2], [8, 8, 9, 9]])])
def test_boxes_without_cells_have_no_mask(boxes: Tensor) -> None:
    logits, inside = quarter_logits(torch.ones(2, 6, 7), torch.ones(len(boxes), 8), boxes)
    assert logits.shape == inside.shape == (len(boxes), 6, 7)
    assert not inside.any()


def test_track_features_are_read_within_the_map() -> None:
    track = torch.arange(6.0).view(1, 2, 3)
    boxes = torch.tensor([[0.0, 0, 15, 15], [0, 0, 16, 16], [40, 40, 90, 90], [-50, 8, -20, 8], [torch.nan] * 4])
    assert features_at(track, boxes)[:, 0].tolist() == [0, 4, 5, 3, 0]


def rescoring() -> SipMask:
    torch.manual_seed(0)
    backbone = ResNet(depth=18, width=16, norm="group")
    return SipMask(backbone=backbone, num_classes=3, channels=16, num_prototypes=4, hidden=16, embedding_dim=8,
                   rescoring=True)  # fmt: skip


@torch.no_grad()
def test_rescoring_multiplies_scores_by_predicted_ious() -> None:
    model = rescoring().eval()
    assert model.rescorer is not None
    torch.nn.init.zeros_(model.head.class_logits.bias)
    torch.nn.init.zeros_(model.rescorer.output.weight)
    assert model.rescorer.output.bias is not None
    model.rescorer.output.bias.copy_(torch.tensor([0.5, 0.0, 3.0]))  # above 1 is 1, and 0 nearly so
    frames = torch.randn(1, 3, 64, 96)
    (plain,) = model.detector(model(frames), image_size=(64, 96), input_size=(64, 96))
    (frame,) = model.detect(frames)
    factors = torch.tensor([0.5, 1e-3, 1.0])[plain.labels - 1]
    torch.testing.assert_close(frame.instances.scores, (plain.scores * factors).sort(descending=True).values)
    assert len(set(plain.labels.tolist())) > 1


def test_rescoring_learns_from_masks_that_are_not_too_poor() -> None:
    rescorer = MaskRescorer(2)
    torch.nn.init.zeros_(rescorer.output.weight)
    objects, masks = torch.zeros(4, 20, 20, dtype=torch.bool), torch.zeros(4, 20, 20)
    objects[:, :10, :10] = True
    objects[3, 5:] = False  # 50 cells
    masks[0, :10, :10] = masks[2, :10, :1] = masks[3, :5, :10] = 0.9
    masks[1, :10, :5] = 0.9
    assert iou_errors(rescorer, masks, objects, torch.tensor([1, 2, 1, 2]), cells=100).tolist() == [1, 0.25]
    assert iou_errors(rescorer, masks, objects, torch.tensor([1, 2, 1, 2]), cells=50).tolist() == [1, 0.25, 1]


@pytest.mark.parametrize("shown", [False, True])
def test_rescoring_has_a_term_and_gradients(shown: bool) -> None:
    model, nothing = rescoring(), empty_targets(64, 96)
    torch.nn.init.constant_(model.head.distances.bias, 3.0)
    pair = (one_object(), one_object()) if shown else (nothing, nothing)
    model.loss = SipMaskLoss(rescored_cells=50)
    report = model.losses(clip_of(pair), generator=torch.Generator().manual_seed(0))
    report.total.backward()
    assert (report.terms["rescoring"].item() > 0) == shown
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


@torch.no_grad()
def test_frames_that_are_nan_show_nothing() -> None:
    (frame,) = network().eval().detect(torch.full((1, 3, 64, 96), torch.nan))
    assert len(frame.instances) == 0


@torch.no_grad()
def test_no_box_reaches_into_the_padding() -> None:
    model = network().eval()
    torch.nn.init.zeros_(model.head.class_logits.bias)
    torch.nn.init.constant_(model.head.distances.bias, 3.0)
    for frame in model.detect_within(torch.randn(2, 3, 64, 96), image_size=(40, 80)):
        assert len(frame.instances) == 10
        assert float(frame.instances.boxes[:, 3].max()) <= 40 / 64
        assert float(frame.instances.boxes[:, 2].max()) <= 80 / 96 + 1e-6


def test_strides_of_a_resnet_in_its_1x1_convolutions() -> None:
    early, late = ResNet(depth=50, width=16, stride_in_1x1=True), ResNet(depth=50, width=16)
    assert early.state_dict().keys() == late.state_dict().keys()
    assert early.layer2[0].conv1.stride == late.layer2[0].conv2.stride == (2, 2)
    assert early.layer2[0].conv2.stride == late.layer2[0].conv1.stride == (1, 1)
    assert early.layer1[0].conv1.stride == early.layer1[0].conv2.stride == (1, 1)
    frames = torch.randn(1, 3, 64, 64)
    early.load_state_dict(late.state_dict())
    with torch.no_grad():
        a, b = early.eval()(frames), late.eval()(frames)
    assert {name: value.shape for name, value in a.items()} == {name: value.shape for name, value in b.items()}
    assert torch.equal(a["C2"], b["C2"])
    assert not torch.allclose(a["C3"], b["C3"])
    with pytest.raises(ValueError, match="weights=imagenet are of stride_in_1x1=false"):
        ResNet(depth=50, stride_in_1x1=True, weights="imagenet")
