"""Each published model has a configuration, which builds the network that its weights are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from official.reference import DATA
from official.test_loading import published_shapes, small_network
from omegaconf import OmegaConf

from stmask.checkpoints import build_model
from stmask.config import compose
from stmask.inference import InferenceSettings
from stmask.official.architecture import recognise
from stmask.official.keys import to_official
from stmask.official.loading import to_official_state, translate
from stmask.official.quirks import KernelsFirst, misaligned_cross_entropy

FOLDER = Path(__file__).parents[2] / "conf" / "experiment" / "official"
MODELS = sorted(path.stem for path in FOLDER.glob("*_*.yaml"))
CLASSES = {"OVIS": 25, "yolact": 80}  # the others have 40


def network(name: str) -> tuple[Any, Any]:
    """The composed configuration and its network, without storage."""
    cfg = compose("train", [f"experiment=official/{name}"])
    classes = next((count for part, count in CLASSES.items() if part in name), 40)
    with torch.device("meta"):
        return cfg, build_model(OmegaConf.to_container(cfg.model, resolve=True), num_classes=classes)


def load_settings(*, window: bool) -> InferenceSettings:
    """What comes with the authors' files."""
    model = small_network(window=11 if window else None)
    return InferenceSettings.from_dict(translate(to_official_state(model), source="w.pth").card.inference)


def test_there_are_twenty() -> None:
    assert len(MODELS) == 20


@pytest.mark.parametrize("name", MODELS)
def test_the_network_is_the_one_of_the_file(name: str) -> None:
    cfg, model = network(name)
    shapes = {str(to_official(key)): tuple(value.shape) for key, value in model.state_dict().items()}
    if (DATA / f"{name}.keys.json").is_file():
        assert shapes == published_shapes(name)
    found = recognise(shapes, source=name)
    assert found.depth == (50 if "resnet50" in name else 101)
    assert found.dcn_interval == (2 if "resnet50" in name else 3)
    assert found.align == next((kind for kind in ("ada", "ali") if f"_{kind}" in name), "none")
    assert found.branches == (() if found.align == "none" else ("class",))
    assert (found.window is None) == (found.embedding_dim == 0) == name.startswith("yolact")
    assert isinstance(model.head.centerness_layout, KernelsFirst)
    assert cfg.loss.mask_inside_only is False


def test_the_quirks_of_the_release_are_chosen() -> None:
    from hydra.utils import instantiate

    cfg, _ = network("STMask_plus_resnet50_ada")
    criterion = instantiate(cfg.loss, _convert_="all")
    assert getattr(criterion.classification, "func", criterion.classification) is misaligned_cross_entropy
    assert not criterion.centerness_detached
    settings = InferenceSettings.from_dict(OmegaConf.to_container(cfg.inference, resolve=True))  # type: ignore[arg-type]
    assert settings == load_settings(window=True)
    images, _ = network("yolact_plus_base_54")
    settings = InferenceSettings.from_dict(OmegaConf.to_container(images.inference, resolve=True))  # type: ignore[arg-type]
    assert settings == load_settings(window=False)


def test_the_clean_path_has_none() -> None:
    cfg = compose("train", [])
    assert "official" not in OmegaConf.to_yaml(cfg)
