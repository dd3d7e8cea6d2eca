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
from stmask.official.architecture import recognise
from stmask.official.keys import to_official
from stmask.official.loading import to_official_state, translate
from stmask.official.quirks import KernelsFirstHead, ReleasedCriterion

FOLDER = Path(__file__).parents[2] / "conf" / "experiment" / "official"
MODELS = sorted(path.stem for path in FOLDER.glob("*_*.yaml"))
CLASSES = {"OVIS": 25, "yolact": 80}  # the others have 40


def network(name: str) -> tuple[Any, Any]:
    """The composed configuration and its network, without storage."""
    cfg = compose("train", [f"experiment=official/{name}"])
    classes = next((count for part, count in CLASSES.items() if part in name), 40)
    with torch.device("meta"):
        return cfg, build_model(OmegaConf.to_container(cfg.model, resolve=True), num_classes=classes)


def loaded(*, window: bool) -> Any:
    """The parts that come with the authors' files."""
    return translate(to_official_state(small_network(window=11 if window else None)), source="w.pth").model()


def assert_same_parts(model: Any, other: Any) -> None:
    assert type(model.detector) is type(other.detector)
    assert vars(model.detector) == vars(other.detector)
    assert type(model.tracker()) is type(other.tracker())
    assert vars(model.tracker()) == vars(other.tracker())


def test_there_are_twenty() -> None:
    assert len(MODELS) == 20


@pytest.mark.parametrize("name", MODELS)
def test_the_network_is_the_one_of_the_file(name: str) -> None:
    _, model = network(name)
    shapes = {str(to_official(key)): tuple(value.shape) for key, value in model.state_dict().items()}
    if (DATA / f"{name}.keys.json").is_file():
        assert shapes == published_shapes(name)
    found = recognise(shapes, source=name)
    assert found.depth == (50 if "resnet50" in name else 101)
    assert found.dcn_interval == (2 if "resnet50" in name else 3)
    assert found.align == next((kind for kind in ("ada", "ali") if f"_{kind}" in name), "none")
    assert found.branches == (() if found.align == "none" else ("class",))
    assert (found.window is None) == (found.embedding_dim == 0) == name.startswith("yolact")
    assert type(model.head) is KernelsFirstHead
    assert type(model.loss) is ReleasedCriterion


def test_the_quirks_of_the_release_are_chosen() -> None:
    _, model = network("STMask_plus_resnet50_ada")
    assert type(model.loss) is ReleasedCriterion
    assert_same_parts(model, loaded(window=True))
    _, images = network("yolact_plus_base_54")
    assert_same_parts(images, loaded(window=False))


def test_the_clean_path_has_none() -> None:
    cfg = compose("train", [])
    assert "official" not in OmegaConf.to_yaml(cfg)
