"""A backbone of one's own: trained and resumed as the configuration says, loaded and evaluated once it is allowed."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine.own_backbone import Strided
from engine.tiny import TINY

import stmask
from stmask.checkpoints import build_model, registry
from stmask.cli import main
from stmask.errors import CheckpointError, ConfigError
from stmask.models import Tracker, TrackerFactory, VideoModel

NAME = "engine.own_backbone.Strided"
OWN = [
    *TINY,
    "~model.backbone",
    f"+model.backbone={{_target_: {NAME}, channels: 4}}",
    "records=none",
    "trainer.max_steps=2",
]


@pytest.fixture(autouse=True)
def _unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def _train(dataset: Path, output: Path, *overrides: str) -> int:
    return main(["train", *OWN, f"data.root={dataset}", f"output_dir={output}", *overrides])


def test_it_trains_and_resumes_and_once_allowed_it_loads_and_evaluates(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trust, run = f"trust=[{NAME}]", tmp_path / "run"
    assert _train(dataset, run) == 0
    monkeypatch.setattr(registry, "_registered", {})  # as another process
    assert _train(dataset, run, "resume=auto") == 0
    checkpoint = run / "checkpoints" / "last.ckpt"
    monkeypatch.setattr(registry, "_registered", {})
    with pytest.raises(CheckpointError, match=f"wants '{NAME}' to be called"):
        stmask.load(checkpoint)
    evaluated = ["evaluate", f"checkpoint={checkpoint}", f"output={tmp_path / 'evaluation'}", "device=cpu"]
    assert isinstance(stmask.load(checkpoint, trust=[NAME]).backbone, Strided)
    monkeypatch.setattr(registry, "_registered", {})
    capsys.readouterr()
    assert main(evaluated) == 2
    said = capsys.readouterr().err
    assert f"model.backbone wants '{NAME}' to be called, which is not registered" in said
    assert "trust=[NAME]" in said
    assert "stmask.register" in said
    assert not (tmp_path / "evaluation").exists()
    assert main([*evaluated, trust]) == 0
    assert "AP" in json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    monkeypatch.setattr(registry, "_registered", {})
    stmask.register(Strided)
    assert stmask.load(checkpoint).backbone.gain.item() == 1
    monkeypatch.setattr(registry, "_registered", {})
    changed = stmask.load(checkpoint, model={"backbone": {"_target_": NAME, "channels": 4}})  # the user's own word
    assert isinstance(changed.backbone, Strided)


def test_a_package_may_register_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint(NAME, "engine.own_backbone:Strided", registry.ENTRY_POINTS)

    def entry_points(*, group: str, name: str) -> Iterator[importlib.metadata.EntryPoint]:
        return iter([point] if (group, name) == (registry.ENTRY_POINTS, NAME) else [])

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert registry.find(NAME, "model") is Strided
    assert registry.find("engine.own_backbone.nn", "model") is None


class Followed(VideoModel):
    """Hands on the tracker that it is given."""

    def __init__(self, *, num_classes: int, tracker: TrackerFactory) -> None:
        super().__init__()
        self.num_classes, self.make_tracker = num_classes, tracker

    def tracker(self) -> Tracker:
        return self.make_tracker()


def test_a_tracker_is_tried_when_its_model_is_built() -> None:
    stmask.register(Followed, name="mine.Followed")
    tracker = {"_target_": "stmask.tracking.PlainTracker", "_partial_": True, "occlusion_iou": 7.0}
    with pytest.raises(ConfigError, match="model.tracker: occlusion_iou must be"):
        build_model({"_target_": "mine.Followed", "tracker": tracker}, num_classes=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("engine.own_backbone.Gone", "cannot import 'engine.own_backbone.Gone'"),
        ("no_such_package.Part", "cannot import 'no_such_package.Part'"),
        ("not a name", "cannot import 'not a name'"),
        ("engine.own_backbone.NAMES", "cannot import"),
        ("sys.path", "'sys.path' is not a class or function"),
    ],
)
def test_what_cannot_be_trusted_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"trust: {message}"):
        registry.trust([name])


def test_names_are_exact_and_ours_stay_ours() -> None:
    assert registry.find("stmask.models.stmask.STMask", "model") is stmask.STMask
    for name in ("stmask.models", "stmask.models.STMask", "stmask.models.stmask.STMask.forward", "STMask", ""):
        assert registry.find(name) is None
    assert registry.find("stmask.models.stmask.STMask", "data") is None
    with pytest.raises(ConfigError, match="is a class of stmask"):
        stmask.register(Strided, name="stmask.models.layers.ResNet")
