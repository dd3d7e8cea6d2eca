from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch

from stmask.models.layers import ResNet
from stmask.models.masktrack_rcnn import MaskTrackRCNN, RegionLoss, RegionWeights
from stmask.structures import FrameTargets
from stmask.structures.clip import Clip, empty_targets


def network(loss: RegionLoss | None = None) -> MaskTrackRCNN:
    torch.manual_seed(0)
    backbone = ResNet(depth=18, width=16, norm="group")
    return MaskTrackRCNN(backbone=backbone, num_classes=3, channels=16, hidden=16, loss=loss)


def clip_of(target: FrameTargets) -> Clip:
    """Two clips whose frames all show it."""
    torch.manual_seed(1)
    return Clip(
        frames=torch.randn(2, 2, 3, 64, 96),
        image_sizes=torch.tensor([64, 96]).expand(2, 2, 2),
        targets=((target, target),) * 2,
        video_ids=torch.zeros(2, dtype=torch.int64),
        frame_indices=torch.zeros(2, 2, dtype=torch.int64),
    )


def one_object() -> FrameTargets:
    masks = torch.zeros(1, 64, 96, dtype=torch.bool)
    masks[0, 16:48, 24:72] = True
    return FrameTargets(
        boxes=torch.tensor([[0.25, 0.25, 0.75, 0.75]]),
        labels=torch.tensor([2]),
        track_ids=torch.tensor([0]),
        masks=masks,
        crowds=torch.zeros(0, 4),
    )


def test_every_weight_has_a_gradient_where_nothing_is_annotated() -> None:
    """Distributed training wants that."""
    model = network()
    report = model.losses(clip_of(empty_targets(64, 96)), generator=torch.Generator().manual_seed(0))
    report.total.backward()
    assert {name: value.item() for name, value in report.terms.items() if name not in ("objectness", "class")} == {
        "proposal": 0, "box": 0, "mask": 0, "track": 0,
    }  # fmt: skip
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


@torch.no_grad()
def test_weights_scale_the_terms() -> None:
    def terms(**weights: float) -> dict[str, float]:
        model = network(RegionLoss(weights=RegionWeights(**weights)))
        report = model.losses(clip_of(one_object()), generator=torch.Generator().manual_seed(0))
        return {name: value.item() for name, value in report.terms.items()}

    names = {field.name: field.name.replace("classification", "class") for field in fields(RegionWeights)}
    plain = terms()
    assert set(plain) == set(names.values())
    assert all(value > 0 for value in plain.values())
    for number, name in enumerate(names, 2):
        assert terms(**{name: number}) == pytest.approx(plain | {names[name]: number * plain[names[name]]})


@torch.no_grad()
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_at_most_a_share_of_the_regions_is_positive(share: float) -> None:
    model = network(RegionLoss(region_samples=4, region_positives=share))
    proposals = torch.tensor([[24.0, 16.0, 72.0, 49.0]] * 8 + [[0.0, 0.0, 9.0, 9.0]] * 8)
    generator = torch.Generator().manual_seed(0)
    report = model.losses(clip_of(one_object()), generator=generator, proposals_px=[proposals] * 2)
    assert report.counts["positive_regions"] == 4 * share


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RegionWeights(box=-1.0), r"box must be a finite number of at least 0, got -1\.0"),
        (
            lambda: RegionWeights(**{field.name: 0.0 for field in fields(RegionWeights)}),
            "at least one of objectness, .* must be above 0",
        ),
        (lambda: RegionLoss(region_positives=1.5), r"region_positives must be .* at most 1, got 1\.5"),
    ],
)
def test_numbers_that_make_no_sense(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@torch.no_grad()
def test_frames_that_are_nan_show_nothing() -> None:
    (frame,) = network().eval().detect(torch.full((1, 3, 64, 96), torch.nan))
    assert len(frame.instances) == 0


@torch.no_grad()
def test_no_box_reaches_into_the_padding() -> None:
    frames = torch.randn(2, 3, 64, 96)
    for frame in network().eval().detect_within(frames, image_size=(40, 80)):
        assert len(frame.instances) > 0
        assert float(frame.instances.boxes[:, 3].max()) <= 40 / 64
        assert float(frame.instances.boxes[:, 2].max()) <= 80 / 96 + 1e-6


def test_a_backbone_without_the_finest_map_is_refused() -> None:
    backbone = ResNet(depth=18, width=16, norm="group")
    del backbone.out_channels["C2"]
    with pytest.raises(ValueError, match="needs the maps C2 .. C5, this backbone does not give C2"):
        MaskTrackRCNN(backbone=backbone, num_classes=3)
