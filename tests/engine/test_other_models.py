"""Weights of one model where another is trained or run, and of other classes: told in one line, for every pair."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.tiny import MODELS, SMALL
from torch import Tensor

import stmask
from stmask.checkpoints import ModelCard, build_model, save_model
from stmask.cli import main
from stmask.config import compose, plain
from stmask.errors import CheckpointError, ConfigError
from stmask.loading import initialise
from stmask.models import VideoModel
from stmask.ops.frames import FramePreprocessor

CLASSES = ("disc", "square", "triangle")
each_pair = pytest.mark.parametrize(("given", "wanted"), list(permutations(MODELS, 2)))
each_model = pytest.mark.parametrize("model", MODELS)


@cache
def config(model: str) -> dict[str, Any]:
    return plain(compose("train", [f"model={model}", *SMALL]).model)


def built(model: str, num_classes: int) -> VideoModel:
    torch.manual_seed(num_classes)
    return build_model(config(model), num_classes=num_classes)


def saved(path: Path, model: str, classes: tuple[str, ...]) -> Path:
    described = {**config(model), "num_classes": len(classes)}
    size = FramePreprocessor(height=64, width=96)
    save_model(path, built(model, len(classes)), ModelCard(model=described, class_names=classes, preprocessor=size))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    return {model: saved(folder / f"{model}.ckpt", model, CLASSES) for model in MODELS}


def network(model: str) -> str:
    return str(config(model)["_target_"]).rpartition(".")[2]


@each_pair
def test_a_run_does_not_go_on_with_another_model(
    given: str, wanted: str, files: dict[str, Path], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"model={wanted}", *SMALL, f"data.root={dataset}", "data.valid=null", "trainer.max_steps=1"]
    assert main(["train", *words, f"resume={files[given]}", f"output_dir={tmp_path / 'run'}"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"stmask: error: {files[given]} is of a run that trains a {network(given)}, and this one ")
    assert f"trains a {network(wanted)}: begin another run from its weights, with init_from" in line


@each_pair
def test_a_checkpoint_s_model_is_not_replaced(given: str, wanted: str, files: dict[str, Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        stmask.load(files[given], model=config(wanted))
    assert str(caught.value) == (
        f"{files[given]} holds a {network(given)}, and model changes it to a {network(wanted)}: leave the network out, "
        "the checkpoint says which it is"
    )


@each_pair
def test_a_start_from_another_model_says_so_and_takes_the_whole_backbone(
    given: str, wanted: str, files: dict[str, Path]
) -> None:
    model = built(wanted, len(CLASSES))
    report = initialise(model, files[given], class_names=CLASSES)
    assert report.summary().startswith(f"of another network, a {network(given)}: {len(report.taken)} tensors taken, ")
    assert "\n" not in report.summary()
    assert {name for name in model.state_dict() if name.startswith("backbone.")} <= set(report.taken)


@each_model
def test_of_an_mmdet_file_with_another_head_the_backbone_alone_is_taken(model: str, tmp_path: Path) -> None:
    started = built(model, 3)
    theirs = {n: value for n, value in built(model, 2).state_dict().items() if n.startswith("backbone.")}
    heads = {"neck.lateral_convs.0.conv.weight": torch.zeros(4, 4, 1, 1), "bbox_head.retina_cls.bias": torch.zeros(4)}
    torch.save({"state_dict": {**theirs, **heads}}, tmp_path / "retina.pth")
    report = initialise(started, tmp_path / "retina.pth", class_names=CLASSES)
    assert set(report.taken) == theirs.keys()
    assert "bbox_head.retina_cls.bias" in {name.removeprefix("detector.") for name in report.unused}
    with pytest.raises(
        CheckpointError, match=r"retina.pth is another network of mmdet .* \(bbox_head.retina_cls.bias\)"
    ):
        stmask.load(tmp_path / "retina.pth")


def rows_for_classes(model: str) -> dict[str, tuple[int, int]]:
    """Of each tensor with rows for the classes: how many of the background come first, and how many are of a class."""
    two, three = (built(model, number).state_dict() for number in (2, 3))
    each = {name: len(three[name]) - len(two[name]) for name in two if two[name].shape != three[name].shape}
    assert each
    return {name: (len(two[name]) - 2 * rows, rows) for name, rows in each.items()}


@each_model
def test_rows_of_classes_are_taken_by_name(model: str, files: dict[str, Path]) -> None:
    before, given, layers = built(model, 2), built(model, 3).state_dict(), rows_for_classes(model)
    initialise(before, files[model], class_names=("triangle", "disc"))
    for name, value in before.state_dict().items():
        background, each = layers.get(name, (len(value) if value.ndim else 0, 0))
        wanted: list[Tensor] = [given[name][:background] if value.ndim else given[name]]
        wanted += [given[name][background + each * label :][:each] for label in (2, 0) if each]
        assert torch.equal(value, torch.cat(wanted) if value.ndim else wanted[0]), name


@each_model
@pytest.mark.parametrize("classes", [("person", "car", "dog"), ("person", "car")])
def test_rows_of_other_classes_stay_fresh_and_the_report_says_why(
    model: str, classes: tuple[str, ...], files: dict[str, Path]
) -> None:
    started, fresh = built(model, len(classes)), built(model, len(classes)).state_dict()
    report = initialise(started, files[model], class_names=classes)
    layers = rows_for_classes(model)
    for name in layers:
        assert report.fresh[name] == "for other classes in the file, person is not among them"
        assert torch.equal(started.state_dict()[name], fresh[name])
    assert report.fresh.keys() == layers.keys()
    assert report.other is None
