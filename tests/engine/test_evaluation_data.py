"""Which data a checkpoint is evaluated with, and that no place that it names has a part in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stmask.checkpoints import ModelCard, registry
from stmask.data import VISDataModule
from stmask.engine.evaluation_data import evaluation_data, evaluation_settings
from stmask.errors import ConfigError, DataError
from stmask.ops.frames import FramePreprocessor
from stmask.runs.config import read_config
from stmask.tasks import Images, Videos

FRAMES = FramePreprocessor(height=64, width=96)
DATA: dict[str, Any] = {
    "_target_": "stmask.data.VISDataModule",
    "root": "/card/root",
    "valid": "valid-sub",
    "valid_annotations": "/card/valid.json",
    "valid_frames": "/card/frames",
    "train_annotations": "/card/train.json",
    "cache": "appeared",
    "prefetch": 7,
    "mix": [{"_target_": "os.system", "root": "/card/mix"}],
    "preprocessor": {"_target_": "os.system", "command": "touch appeared"},
    "augmentation": {"_target_": "hydra.utils.get_method", "path": "os.system"},
    "motion": {"_target_": "torch.utils.collect_env.run", "command": "touch appeared"},
}


def card(**changes: Any) -> ModelCard:
    return ModelCard(model={}, class_names=(), preprocessor=FRAMES, data={**DATA, **changes})


def checkpoint(folder: Path, config: str | None = None) -> Path:
    """Where a run's checkpoint would lie, with this config.yaml beside it."""
    path = folder / "run" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    if config is not None:
        (folder / "run" / "config.yaml").write_text(config)
    return path


def test_of_a_card_come_the_kind_and_the_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = evaluation_settings(card(), tmp_path / "best.ckpt", {"root": "/mine"})
    assert settings == {
        "_target_": "stmask.data.VISDataModule", "root": "/mine", "valid": "valid-sub", "train": None,
        "augmentation": None,
    }  # fmt: skip
    data = evaluation_data(card(), tmp_path / "best.ckpt", {"root": "/mine"})
    assert (data.splits.root, data.splits.cache, data.clips.mix, data.loading.prefetch) == ("/mine", None, None, 4)
    assert not (tmp_path / "appeared").exists()
    kind = {"_target_": "stmask.data.ImageDataModule"}
    assert evaluation_data(card(**kind), "x", {"root": "/mine"}).task == Images()


def test_without_a_place_the_card_is_shown_and_not_followed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root='/card/root', data\.valid='valid-sub'\): give data\.root=FOLDER"):
        evaluation_data(card(), tmp_path / "best.ckpt")


def test_the_place_is_that_of_the_runs_own_configuration(tmp_path: Path) -> None:
    config = "data: {root: /run/root, valid_annotations: /run/valid.json, valid_frames: null, cache: /run/cache}"
    path = checkpoint(tmp_path, config)
    places = ("root", "valid_annotations", "valid_frames", "cache")

    def found(**changes: str) -> list[str | None]:
        settings = evaluation_settings(card(), path, changes)
        return [settings.get(name) for name in places]

    assert found() == ["/run/root", "/run/valid.json", None, None]
    assert found(valid_frames="/mine") == ["/run/root", "/run/valid.json", "/mine", None]
    assert found(root="/mine") == ["/mine", None, None, None]  # the run's files are not those of another folder
    assert found(valid="train") == ["/run/root", None, None, None]  # nor of another split
    assert found(cache="/mine") == ["/run/root", "/run/valid.json", None, "/mine"]


@pytest.mark.parametrize(
    "config",
    [
        "data: {root: '${oc.env:HOME}'}",
        "data: {root: [a]}",
        "data: {root: 3}",
        "data: {root: !!python/object/apply:os.system ['touch appeared']}",
        "a: &a [x]\ndata: {root: *a}",
        "[" * 1000,
        "data: [",
        "- data",
        "\x00",
    ],
)
def test_a_configuration_is_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, DataError)):
        evaluation_data(card(), checkpoint(tmp_path, config))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_interpolations_of_a_configuration_are_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: ${oc.env:HOME}\nb: 1.0e-05\nc: {1: x}\n")
    assert read_config(tmp_path / "config.yaml") == {"a": "${oc.env:HOME}", "b": 1e-5, "c": {1: "x"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_target_": "os.system"}, "trained on data of 'os.system', which is not a registered class"),
        ({"_target_": "stmask.data.Source"}, "not a registered class"),
        ({"_target_": "stmask.models.stmask.STMask"}, "not a registered class"),
        ({"_target_": ["os.system"]}, "not a registered class"),
        ({"_target_": None}, "trained on data of None"),
        ({"valid": "../../other/train"}, "its split to evaluate with is '../../other/train', not a name"),
        ({"valid": "/etc"}, "not a name"),
        ({"valid": 3}, "not a name"),
    ],
)
def test_what_a_card_cannot_mean_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluation_data(card(**changes), "x.ckpt", {"root": "/mine"})


def test_how_a_track_gets_its_class_is_the_runs_unless_it_is_changed() -> None:
    trained = card(task={"_target_": "stmask.tasks.Videos", "metrics": {}, "class_vote": "scores"})
    assert evaluation_data(trained, "x.ckpt", {"root": "/mine"}).task == Videos(class_vote="scores")
    changed = {"root": "/mine", "task": {"class_vote": "frames"}}
    assert evaluation_data(trained, "x.ckpt", changed).task == Videos(class_vote="frames")
    with pytest.raises(ConfigError, match="data.task: class_vote must be one of frames, scores, got 'loudest'"):
        evaluation_data(card(task={"class_vote": "loudest"}), "x.ckpt", {"root": "/mine"})


def share(truth: Any, entries: list[dict[str, Any]], item_ids: list[int], *, of: float = 1.0) -> float:
    """A metric of one's own."""
    return of * len(entries) / len(item_ids)


SHARE = {"_target_": "engine.test_evaluation_data.share", "_partial_": True, "of": 2.0}


def test_metrics_of_the_training_are_those_of_its_evaluation_once_they_are_registered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    trained = card(task={"_target_": "stmask.tasks.Videos", "metrics": {"mine": SHARE}})
    assert evaluation_data(trained, "x.ckpt", {"root": "/mine"}).task == Videos()
    said = "mine was a metric of its training run: to have it here, trust=[engine.test_evaluation_data.share]"
    assert said in caplog.text
    new = {"root": "/mine", "task": {"metrics": {"new": SHARE}}}
    assert list(evaluation_data(trained, "x.ckpt", new).task.metrics) == ["new"]
    registry.trust(["engine.test_evaluation_data.share"])
    metrics = evaluation_data(trained, "x.ckpt", new).task.metrics
    assert {name: metric(None, [{}], [1]) for name, metric in metrics.items()} == {"mine": 2.0, "new": 2.0}
    with pytest.raises(ConfigError, match=r"unknown key 'data\.task\.metric'; did you mean 'data\.task\.metrics'"):
        evaluation_data(trained, "x.ckpt", {"root": "/mine", "task": {"metric": {}}})


@pytest.mark.parametrize("task", [3, "stmask.tasks.Videos", {"metrics": [1]}, {"metrics": {"a": "os.system"}}])
def test_a_task_that_a_card_cannot_mean_is_refused(task: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"the checkpoint's data\.task(\.metrics)? is .*, not (a task|metrics by name)"
    ):
        evaluation_data(card(task=task), "x.ckpt", {"root": "/mine"})


def test_a_dataset_of_the_users_own_leaves_nothing_of_the_card(tmp_path: Path) -> None:
    mine = {"_target_": "stmask.data.VISDataModule", "root": "/mine", "valid": "test"}
    data = evaluation_data(card(_target_="os.system"), tmp_path / "best.ckpt", mine)
    assert isinstance(data, VISDataModule)
    assert (data.splits.root, data.splits.valid, data.loading.prefetch) == ("/mine", "test", 4)
