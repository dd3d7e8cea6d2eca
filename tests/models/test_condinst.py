from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.errors import ConfigError
from stmask.models.condinst import CondInst, CondInstLoss, FilterDetector
from stmask.models.condinst.losses import dice_costs
from stmask.models.condinst.masks import DrawnMasks, drawn, enlarged, filter_count
from stmask.models.layers import ResNet
from stmask.ops import masks as mask_ops
from stmask.structures import Clip, FrameTargets, Placement, RecognisableInstances
from stmask.tracking import GatedCosine, MemoryTracker

SIZE = (64, 96)


def network(*, embedding_dim: int | None = 8, detector: FilterDetector | None = None) -> CondInst:
    torch.manual_seed(0)
    backbone = ResNet(depth=18, width=16, norm="group")
    return CondInst(
        backbone=backbone,
        num_classes=3,
        channels=16,
        tower_depth=1,
        mask_hidden=16,
        mask_norm="group",
        embedding_dim=embedding_dim,
        detector=detector or FilterDetector(score_threshold=0.001, max_detections=10),
    )


def one_by_one(features: Tensor, filters: Tensor, *, xy_px: Tensor, strides: Tensor) -> Tensor:
    """Masks (N, 2 * h, 2 * w) as the paper says it: for each instance coordinates, and three 1x1 convolutions."""
    c, h, w = features.shape
    masks = []
    for parameters, (x, y), stride in zip(filters, xy_px, strides, strict=True):
        rows, columns = torch.meshgrid(torch.arange(h) * 8 + 4, torch.arange(w) * 8 + 4, indexing="ij")
        value = torch.cat([torch.stack([x - columns, y - rows]) / (8 * stride), features])[None]
        sizes = [(c, c + 2), (c, c), (1, c)]
        weights = parameters[: -(2 * c + 1)].split([math.prod(size) for size in sizes])
        shifts = parameters[-(2 * c + 1) :].split([c, c, 1])
        for layer, (size, weight, shift) in enumerate(zip(sizes, weights, shifts, strict=True)):
            value = F.conv2d(value.relu() if layer else value, weight.view(*size, 1, 1), shift)
        masks.append(enlarged(value[0, 0], 2))
    return torch.stack(masks)


@pytest.mark.parametrize("channels", [4, 8])
def test_masks_of_all_instances_at_once_are_those_of_each(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(channels, 6, 9, generator=generator)
    filters = torch.randn(5, filter_count(channels), generator=generator)
    places = {"xy_px": torch.tensor([[4.0, 4], [68, 44], [8, 8], [16, 80], [64, 32]])}
    places["strides"] = torch.tensor([8.0, 8, 16, 32, 128])
    wanted = one_by_one(features, filters, **places)
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            torch.testing.assert_close(drawn(features, filters, **places), wanted, rtol=1e-4, atol=1e-4)


def test_how_many_filters() -> None:
    assert filter_count(8) == 169


def test_without_instances() -> None:
    features = torch.randn(8, 6, 9, requires_grad=True)
    masks = drawn(features, torch.zeros(0, 169), xy_px=torch.zeros(0, 2), strides=torch.zeros(0))
    assert masks.shape == (0, 12, 18)
    masks.sum().backward()
    assert features.grad is not None


@pytest.mark.parametrize(
    ("factor", "wanted"),
    [(1, [0.0, 1.0]), (2, [0.0, 0.0, 0.5, 1.0]), (4, [0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0])],
)
def test_enlarged(factor: int, wanted: list[float]) -> None:
    line = torch.tensor([[0.0, 1.0]])
    assert enlarged(line, factor).tolist() == [wanted] * factor
    assert enlarged(line.t()[None, None], factor)[0, 0].t().tolist() == [wanted] * factor


@pytest.mark.parametrize("size", [(40, 84), (90, 189), (200, 300), (17, 23)])
def test_masks_by_parts_are_the_whole_ones(size: tuple[int, int]) -> None:
    noise = torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(0))
    probabilities = F.interpolate(noise[:, None], size=(16, 24), mode="bicubic")[:, 0].sigmoid()
    probabilities[0], probabilities[1] = 0.1, 0.9
    probabilities[2, :, 3:] = 0.2
    masks, place = DrawnMasks(probabilities), Placement((40, 84), (64, 96))
    wanted = mask_ops.enlarge(place.without_padding(enlarged(probabilities, 4)), *size)
    assert torch.equal(masks.at(size, placement=place), wanted)
    assert 0 < int(wanted[2].sum()) < wanted[2].numel()
    cropped = masks[torch.tensor([5, 2])].cropped_at(size, placement=place)
    for part, (top, left), mask in zip(cropped.parts, cropped.corners, wanted[[5, 2]], strict=True):
        whole = torch.zeros(size, dtype=torch.bool)
        whole[top : top + part.shape[0], left : left + part.shape[1]] = torch.from_numpy(part)
        assert torch.equal(whole, mask)
    assert isinstance(masks.followed_by(masks), DrawnMasks)


def test_dice() -> None:
    mask = torch.tensor([[1.0, 1, 0, 0]])
    given = torch.stack([mask, 1 - mask, 0.5 * torch.ones(1, 4), torch.zeros(1, 4)])
    assert dice_costs(given, mask.expand(4, 1, 4)).tolist() == pytest.approx([0, 1, 1 - 2 / 3, 1], abs=1e-5)


def clip_of(objects: int, *, clips: int = 2) -> Clip:
    """Clips of two frames, whose objects are squares of 24 pixels side by side, each of a colour."""
    masks = torch.zeros(objects, *SIZE, dtype=torch.bool)
    boxes = torch.zeros(objects, 4)
    for n in range(objects):
        masks[n, 20:44, 30 * n : 30 * n + 24] = True
        boxes[n] = torch.tensor([30 * n / 96, 20 / 64, (30 * n + 24) / 96, 44 / 64])
    target = FrameTargets(
        boxes=boxes, labels=torch.ones(objects, dtype=torch.int64), masks=masks, track_ids=1 + torch.arange(objects)
    )
    frames = torch.randn(clips, 2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    for n in range(objects):
        frames[:, :, n, masks[n]] += 5
    return Clip(
        frames=frames,
        image_sizes=torch.tensor(SIZE).expand(clips, 2, 2),
        targets=((target, target),) * clips,
        video_ids=torch.zeros(clips, dtype=torch.int64),
        frame_indices=torch.zeros(clips, 2, dtype=torch.int64),
    )


def test_losses_of_objects_and_of_none() -> None:
    model = network()
    some = model.losses(clip_of(2), generator=torch.Generator().manual_seed(0))
    assert some.terms.keys() == {"class", "box", "centreness", "mask", "track"}
    assert all(float(term) > 0 for term in some.terms.values())
    assert some.counts["positive_points"] >= 2
    none = model.losses(clip_of(0), generator=torch.Generator().manual_seed(0))
    assert {name: float(term) for name, term in none.terms.items() if name != "class"} == {
        "box": 0, "centreness": 0, "mask": 0, "track": 0,
    }  # fmt: skip
    none.total.backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


def test_single_images_are_learnt_from() -> None:
    clip = clip_of(2)
    stills = replace(
        clip,
        frames=clip.frames[:, :1],
        image_sizes=clip.image_sizes[:, :1],
        targets=tuple(row[:1] for row in clip.targets),
        frame_indices=clip.frame_indices[:, :1],
    )
    assert network().losses(stills, generator=torch.Generator()).total.isfinite()


def test_the_points_that_learn_a_mask_are_drawn_by_the_generator() -> None:
    model, clip = network(), clip_of(3)
    model.loss = CondInstLoss(max_masks=2)
    first, again, other = (
        model.losses(clip, generator=torch.Generator().manual_seed(seed)).terms["mask"].item() for seed in (0, 0, 1)
    )
    assert first == again != other


def test_without_the_embeddings_loss_their_layers_are_idle() -> None:
    model = network()
    model.loss = CondInstLoss(track=0.0)
    report = model.losses(clip_of(2), generator=torch.Generator())
    assert "track" not in report.terms
    report.total.backward()
    layer = model.head.embeddings
    assert layer is not None
    assert layer.weight.grad is not None
    assert not layer.weight.grad.any()


def test_embeddings_of_one_object_become_alike_and_of_two_apart() -> None:
    """By their loss alone, on one clip."""
    model, clip = network(), clip_of(2, clips=1)
    optimiser = torch.optim.Adam(model.head.parameters(), lr=1e-2)
    for _ in range(25):
        loss = model.losses(clip, generator=torch.Generator()).terms["track"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.25


@torch.no_grad()
def test_frames_that_are_nan_show_nothing() -> None:
    (frame,) = network().eval().detect(torch.full((1, 3, *SIZE), torch.nan))
    assert len(frame.instances) == 0


@torch.no_grad()
def test_no_box_reaches_into_the_padding() -> None:
    for frame in network().eval().detect_within(torch.randn(2, 3, *SIZE), image_size=(40, 80)):
        assert isinstance(frame.instances, RecognisableInstances)
        assert 0 < len(frame.instances) <= 10
        assert float(frame.instances.boxes[:, 3].max()) <= 40 / 64
        assert float(frame.instances.boxes[:, 2].max()) <= 80 / 96 + 1e-6


@torch.no_grad()
def test_of_each_level_the_most_probable_are_considered() -> None:
    model, frames = network(), torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    maps, sizes = model.eval()(frames), {"image_size": SIZE, "input_size": SIZE}
    all_of_them = FilterDetector(score_threshold=0.0, iou_threshold=1.0, max_detections=10**6)(maps, **sizes)
    (few,) = FilterDetector(score_threshold=0.0, iou_threshold=1.0, max_detections=10**6, per_level=2)(maps, **sizes)
    assert len(few) <= 2 * 5 < len(all_of_them[0])


@torch.no_grad()
def test_a_network_of_images_is_tracked_by_its_masks() -> None:
    best = FilterDetector(score_threshold=0.001, max_detections=1)
    model, frames = network(embedding_dim=None, detector=best).eval(), torch.randn(1, 3, *SIZE)
    assert not any("track" in name or "embeddings" in name for name in model.state_dict())
    assert model.head.filters.bias is not None
    model.head.filters.bias[-1] = 5.0  # masks are everywhere
    frame, tracker = model.detect(frames)[0], model.tracker()
    assert [tracker.step(frame).track_ids.tolist() for _ in range(2)] == [[0], [0]]
    with pytest.raises(ConfigError, match="track features, which the model's instances do not have"):
        MemoryTracker(scorer=GatedCosine()).step(frame)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CondInstLoss(track=-1.0), "track"),
        (lambda: CondInstLoss(limits=(1.0, 2.0)), "limits must be 4 rising positive numbers"),
        (lambda: CondInstLoss(max_masks=0), "max_masks"),
        (lambda: FilterDetector(iou_threshold=2.0), "iou_threshold"),
        (
            lambda: CondInst(backbone=ResNet(depth=18, width=16, norm="group"), num_classes=3, mask_norm="layer"),
            "mask_norm must be one of batch, group, got 'layer'",
        ),
    ],
)
def test_bad_input(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()
