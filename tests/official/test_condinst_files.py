"""Files of mmdet's CondInst: recognised, translated, taken as a start, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from official.condinst_reference import stand_in_weights
from torch import Tensor

from stmask.checkpoints import skeleton
from stmask.data.classes import YOUTUBE_VIS_2019
from stmask.errors import CheckpointError
from stmask.models.condinst import CondInst
from stmask.models.layers import ResNet
from stmask.official import initialise, load
from stmask.official.condinst import CONDINST, CondInstArchitecture
from stmask.official.datasets import COCO
from stmask.official.keys import to_official
from stmask.official.translation import translate

R50 = CondInstArchitecture(
    depth=50, channels=256, tower_depth=4, mask_hidden=128, mask_channels=8, num_classes=80
)  # fmt: skip
R101 = CondInstArchitecture(
    depth=101, channels=256, tower_depth=4, mask_hidden=128, mask_channels=8, num_classes=40
)  # fmt: skip
FRESH_ALWAYS = {"head.track_tower", "head.embeddings"}


def saved(folder: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save({"meta": {}, "state_dict": tensors}, folder / "given.pth")
    return folder / "given.pth"


def network(num_classes: int) -> CondInst:
    return CondInst(backbone=ResNet(frozen_norm=True, train_scales=True, frozen_stages=1), num_classes=num_classes)


@pytest.mark.parametrize("found", [R50, R101], ids=["r50", "r101"])
def test_the_networks_are_recognised(found: CondInstArchitecture) -> None:
    """By names and shapes; no values are needed."""
    empty = skeleton(found.model_config(), num_classes=found.num_classes).state_dict()
    tensors = {str(to_official(name, CONDINST)): torch.empty(v.shape, device="meta") for name, v in empty.items()}
    assert set(stand_in_weights()) == set(tensors) or found is not R50
    imported = translate(tensors, source="condinst_coco.pth")
    assert imported.card.model == found.model_config()
    assert imported.weights.keys() == empty.keys()
    assert imported.card.class_names == (COCO if found is R50 else YOUTUBE_VIS_2019)
    report = imported.report()
    assert "CondInst of mmdet, a network of images" in report
    assert f"used {len(tensors)} tensors" in report


def test_a_file_is_a_network_of_images(tmp_path: Path) -> None:
    model = load(saved(tmp_path, stand_in_weights()))
    assert isinstance(model, CondInst)
    assert model.head.embeddings is None


def test_a_start_says_what_it_took(tmp_path: Path) -> None:
    """With another number of classes everything but the class layer and the embeddings' is taken."""
    model = network(40)
    report = initialise(model, saved(tmp_path, stand_in_weights()), class_names=YOUTUBE_VIS_2019)
    fresh = {".".join(name.split(".")[:2]) for name in report.fresh}
    assert fresh == {"head.class_logits"} | FRESH_ALWAYS
    assert report.fresh["head.class_logits.weight"].startswith("for other classes in the file, ")
    assert report.unused == []
    assert report.has_backbone
    assert not report.mostly_fresh
    state = model.state_dict()
    for ours, theirs in {
        "backbone.layer4.2.conv3.weight": "backbone.layer4.2.conv3.weight",
        "fpn.extra_blocks.p7.bias": "neck.fpn_convs.4.conv.bias",
        "fpn.layer_blocks.2.0.weight": "neck.fpn_convs.2.conv.weight",
        "head.box_tower.3.norm.weight": "bbox_head.reg_convs.3.gn.weight",
        "head.filters.weight": "bbox_head.controller.weight",
        "head.scales.4.scale": "bbox_head.scales.4.scale",
        "mask_branch.levels.1.conv.weight": "mask_head.mask_feature_head.convs_all_levels.1.conv1.conv.weight",
        "mask_branch.tower.3.norm.running_var": "mask_head.mask_feature_head.conv_branch.3.bn.running_var",
    }.items():
        assert torch.equal(state[ours], stand_in_weights()[theirs]), ours


def test_classes_of_the_file_are_taken_by_name(tmp_path: Path) -> None:
    model = network(2)
    report = initialise(model, saved(tmp_path, stand_in_weights()), class_names=["toothbrush", "person"])
    assert "head.class_logits.weight" in report.taken
    theirs = stand_in_weights()["bbox_head.conv_cls.weight"]
    assert torch.equal(model.state_dict()["head.class_logits.weight"], theirs[[79, 0]])


def without(part: str) -> dict[str, Tensor]:
    return {name: value for name, value in stand_in_weights().items() if part not in name}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            lambda: without("controller"),  # FCOS and its like
            r"is another network of mmdet than MaskTrack R-CNN and CondInst: .* its heads are bbox_head, mask_head",
        ),
        (lambda: without("layer3.5."), r"stages of \(3, 4, 5, 3\) blocks, known are ResNet-50 and -101"),
        (lambda: without("conv_centerness"), "missing bbox_head.conv_centerness.weight"),
        (
            lambda: {**stand_in_weights(), "bbox_head.controller.weight": torch.zeros(233, 256, 3, 3)},
            r"bbox_head.controller.weight is \(233, 256, 3, 3\), expected \(169, 256, 3, 3\)",
        ),
        (
            lambda: {**stand_in_weights(), "bbox_head.sem_head.weight": torch.zeros(1)},
            "unexpected bbox_head.sem_head.weight",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tensors: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        translate(tensors(), source="given.pth")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("given.pth")
