"""What a training is refused for before its first step, or warned of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from engine.tiny import TINY

from stmask.checkpoints import save_model
from stmask.config import compose
from stmask.data import ImageDataModule, VISDataModule
from stmask.engine.build import build_module, check_model, refuse_frozen_random_norms, start_from
from stmask.engine.module import VISModule
from stmask.engine.train import train
from stmask.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        ([], True),
        (["experiment=table4/t4_fca_ada"], True),
        (["model/backbone=r50", "model.backbone.weights=resnet50.pth"], False),
        (["model.backbone.frozen_norm=false"], False),
        (["model/backbone=r18"], False),
        (["experiment=demo"], False),
        (["experiment=table4/t4_fca_ada", "recipe=tiny"], False),
    ],
)
def test_frozen_norms_need_weights(overrides: list[str], refused: bool) -> None:
    model = compose("train", overrides).model
    if not refused:
        return refuse_frozen_random_norms(model)
    with pytest.raises(
        ConfigError, match=r"model\.backbone\.frozen_norm=true .* there are none: give init_from=FILE or"
    ):
        refuse_frozen_random_norms(model)


FROZEN = [*TINY, "model.backbone.norm=batch", "model.backbone.frozen_norm=true"]


@pytest.fixture
def module(dataset: Path) -> Callable[..., VISModule]:
    def make(*overrides: str) -> VISModule:
        cfg = compose("train", [*FROZEN, f"data.root={dataset}", *overrides])
        return build_module(cfg, VISDataModule(root=str(dataset)), None, batch=2)

    return make


def test_a_training_is_refused_before_its_first_step(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="frozen_norm=true"):
        train(compose("train", [*FROZEN, f"data.root={dataset}", f"output_dir={tmp_path / 'run'}"]))
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_a_start_with_and_without_a_backbone(
    module: Callable[..., VISModule], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = "model.backbone.width=32"
    source = module(whole)
    save_model(tmp_path / "w.ckpt", source.model, source.card)
    report = tmp_path / "init_from.txt"
    with caplog.at_level(logging.INFO):
        start_from(module(whole), str(tmp_path / "w.ckpt"), report=report)
        assert [record.levelno for record in caplog.records] == [logging.INFO]
        assert "(100% of the network's parameters taken)" in report.read_text()
        wide = [whole, "model.channels=160", "model.num_prototypes=32"]
        start_from(module(*wide), str(tmp_path / "w.ckpt"), report=report)
    assert [record.levelno for record in caplog.records[1:]] == [logging.WARNING]
    assert "most of the network stays random" in caplog.text
    head = {name: v for name, v in source.model.state_dict().items() if not name.startswith("backbone.")}
    torch.save(head, tmp_path / "head.pth")
    wider = module("model.backbone.width=1")
    with pytest.raises(ConfigError, match=r"frozen_norm=true .* there are none in .*head\.pth"):
        start_from(wider, str(tmp_path / "head.pth"), report=report)


def test_temporal_fusion_on_single_images() -> None:
    model, images = compose("train", []).model, ImageDataModule(root="nowhere")
    with pytest.raises(
        ConfigError, match="learns from 2 frames in a row, and this data is of single images: .* model/temporal=none"
    ):
        check_model(model, images)
    check_model(model, VISDataModule(root="nowhere"))
    check_model(compose("train", ["model/temporal=none"]).model, images)


def test_images_with_the_default_network_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model/temporal=none"):
        train(compose("train", ["data=coco_images", "data.root=/nowhere", f"output_dir={tmp_path / 'run'}"]))
