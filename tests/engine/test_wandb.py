"""A run that is logged to W&B offline, read back; and W&B that refuses, does not answer, or breaks."""

from __future__ import annotations

import csv
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from engine.offline_wandb import OfflineRun, read_offline
from engine.tiny import TINY

from stmask.config import compose
from stmask.engine.records import ValidationRecord
from stmask.engine.train import train
from stmask.engine.wandb_environment import wandb_settings
from stmask.engine.wandb_logging import STEP, WandbLogger, wandb_runs
from stmask.errors import ConfigError
from stmask.files import write_json
from stmask.inference.video import VideoReader
from stmask.runs.folder import Origin

ORIGIN = Origin(command=("stmask", "train"), experiment="table4/t4_fca_ada", table="table4")


@pytest.fixture(scope="module", autouse=True)
def _wandb_at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """W&B keeps tables that wait for their upload in the home folder."""
    home = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(home))
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            if name not in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
                patch.delenv(name)
        yield


# a run that was interrupted once


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    logging_ = ["logger=wandb", "tags=[small,tested]", "records.min_score=0.01"]
    overrides = [*TINY, *logging_, f"data.root={dataset}", f"output_dir={folder}", "seed=3"]
    mode = os.environ.get("WANDB_MODE")
    train(compose("train", [*overrides, "trainer.max_steps=2", "scheduler.total_steps=4"]), origin=ORIGIN)
    train(compose("train", [*overrides, "scheduler.total_steps=4", "resume=auto"]), origin=ORIGIN)
    assert os.environ.get("WANDB_MODE") == mode  # the next run of this process may choose another
    return folder


@pytest.fixture(scope="module")
def found(run: Path) -> OfflineRun:
    return read_offline(run)


def scalars(rows: list[dict[str, Any]], step: str) -> dict[tuple[int, str], float]:
    """By step and name."""
    return {
        (int(row[step]), name): float(value)
        for row in rows
        for name, value in row.items()
        if "/" in name and name != step and value not in ("", None) and not name.startswith("validation/")
    }


def test_it_is_one_run_with_its_name_group_and_tags(found: OfflineRun, run: Path) -> None:
    assert len(found.folders) == 2
    assert found.run_id == (run / "wandb" / "run-id.txt").read_text().strip()
    assert (found.project, found.group, found.name) == ("stmask", "table4", "t4_fca_ada seed 3")
    assert found.tags == ("small", "tested")
    assert found.exit_code == 0


def test_it_has_the_scalars_of_both_csv_files(found: OfflineRun, run: Path) -> None:
    logged, measured = (
        scalars(list(csv.DictReader((run / name).read_text().splitlines())), "step")
        for name in ("metrics.csv", "performance.csv")
    )
    names = {name for _, name in logged | measured}
    assert {"train/loss", "train/grad_norm", "valid/AP", "valid/explain/cost/missed"} <= names
    assert {"performance/samples_per_second", "performance/data_wait_share", "performance/memory_gib"} <= names
    assert scalars(list(found.rows), STEP) == pytest.approx(logged | measured, rel=1e-5)
    assert len(found.history("lr-AdamW")) == 4


def test_it_has_every_validation_s_table_of_classes(found: OfflineRun, run: Path) -> None:
    paths = found.history("validation/classes.path")
    assert len(paths) == 2
    table = json.loads(found.file(paths[-1]).read_text())
    with (run / "validation" / "step_00000004" / "classes.csv").open() as handle:
        rows = list(csv.reader(handle))
    assert table["columns"] == rows[0]
    assert [row[1] for row in table["data"]] == [row[1] for row in rows[1:]]
    assert [row[2] for row in table["data"]] == [float(row[2]) for row in rows[1:]]


def test_it_has_the_clips_with_their_masks_and_the_film(found: OfflineRun) -> None:
    assert [len(names) for names in found.history("validation/clips.filenames")] == [2, 2]
    for masks, pictures in zip(
        found.history("validation/clips.all_masks"), found.history("validation/clips.filenames"), strict=True
    ):
        assert all(found.file(mask["prediction"]["path"]).exists() for mask in masks)
        assert all(found.file(picture).exists() for picture in pictures)
    films = found.history("validation/film.path")
    assert [len(list(VideoReader(found.file(film)))) for film in films] == [4, 4]


def test_it_has_what_the_run_was_made_of(found: OfflineRun, run: Path) -> None:
    assert found.config["seed"] == 3
    assert found.config["model"]["temporal"]["size"] == 3
    assert found.config["run"] == json.loads((run / "run.json").read_text())
    if (run / "git.diff").exists():
        assert found.file("git.diff").read_text() == (run / "git.diff").read_text()


def test_it_ends_with_the_best_figures_and_the_artifacts(found: OfflineRun, run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert {name: found.summary[name] for name in summary} == pytest.approx(summary)
    kept = {(a.kind, alias): a.files for a in found.artifacts for alias in a.aliases}
    assert kept["model", "best"] == ("best.ckpt",)
    assert kept["model", "last"] == ("last.ckpt",)
    folder = "step_00000004"
    assert {f"{folder}/results.json", f"{folder}/classes.csv", f"{folder}/figures.json"} <= {*kept["results", "final"]}


# W&B that does not do as it is told


class Run(SimpleNamespace):
    """A W&B run that notes what is called, and fails in what it is told to."""

    def __init__(self, folder: Path, *, broken: tuple[str, ...] = ()) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(id="abc", dir=str(folder), offline=True, calls=[], broken=broken, summary={})

    def _note(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.calls.append((name, args, kwargs))
        if name in self.broken:
            raise OSError(f"{name}: connection lost")

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: self._note(name, *args, **kwargs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("name: mine\nseed: 7\n")
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Callable[..., list[dict[str, Any]]]:
    """Puts something in the place of wandb.init; returns the calls of it."""
    import wandb

    def install(*, online: Exception | None = None, offline: Exception | None = None, broken: tuple[str, ...] = ()):
        calls: list[dict[str, Any]] = []

        def init(**kwargs: Any) -> Run:
            calls.append(kwargs)
            if error := online if kwargs["mode"] == "online" else offline:
                raise error
            return Run(folder / "files", broken=broken)

        monkeypatch.setattr(wandb, "init", init)
        monkeypatch.setattr(wandb, "setup", lambda settings: None)
        monkeypatch.setattr(wandb, "teardown", lambda: None)
        return calls

    return install


def silent_server() -> Exception:
    from wandb.errors import CommError

    return CommError("Timed out initializing run: context deadline exceeded\nConsider increasing the init_timeout")


def refusals() -> list[Exception]:
    from wandb.errors import AuthenticationError, CommError, UsageError

    return [
        UsageError("No API key configured. Use `wandb login` to log in."),
        AuthenticationError("WANDB_API_KEY invalid: API key must have 40+ characters, has 3."),
        CommError("user is not logged in"),
        CommError("permission denied"),
        CommError("returned error 404: entity mine not found during upsertBucket"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_a_key_that_fails_ends_the_run_before_training(number: int, folder: Path, server: Any) -> None:
    calls = server(online=refusals()[number])
    with pytest.raises(ConfigError, match="W&B refuses this run .*wandb login.*logger.wandb.mode=offline") as caught:
        WandbLogger(folder, mode="online").start()
    assert len(str(caught.value).splitlines()) == 1
    assert [call["mode"] for call in calls] == ["online"]


def test_a_server_that_does_not_answer_is_done_without(
    folder: Path, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    calls = server(online=silent_server())
    logger = WandbLogger(folder, mode="online", init_timeout=3.0)
    with caplog.at_level(logging.INFO):
        logger.start()
    assert [call["mode"] for call in calls] == ["online", "offline"]
    assert calls[0]["id"] == calls[1]["id"]
    assert calls[0]["settings"].init_timeout == 3
    warning, way_out = [record.getMessage() for record in caplog.records if "W&B" in record.getMessage()]
    assert warning.startswith("W&B does not answer (Timed out initializing run")
    assert f"wandb sync {folder}" in way_out
    assert logger.version == "abc"


def test_without_w_and_b_at_all_the_training_goes_on(
    folder: Path, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server(offline=RuntimeError("its service\n  does not start."))
    logger = WandbLogger(folder)
    logger.start()
    logger.log_metrics({"train/loss": 1.0}, step=0)
    logger.finish(0)
    assert [record.getMessage() for record in caplog.records] == [
        "W&B cannot start (its service; does not start); the run goes on, without further warnings"
    ]


def test_what_fails_on_the_way_costs_one_warning(folder: Path, server: Any, caplog: pytest.LogCaptureFixture) -> None:
    server(broken=("log", "finish"))
    logger = WandbLogger(folder)
    logger.start()
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0}, step=step)
    logger.log_validation(ValidationRecord(step=3, classes=[], class_names=("a",), frames=[], film=None))
    logger.finish(0)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [
        "W&B cannot log metrics (log: connection lost); the run goes on, without further warnings",
        f"W&B did not take everything (finish: connection lost): `wandb sync {folder}` uploads the rest",
    ]


def test_names_and_groups_can_be_given(folder: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "")  # which W&B itself refuses
    calls = server()
    write_json(folder / "run.json", {"experiment": "table4/t4_fca", "table": "table4"})
    WandbLogger(folder).start()
    WandbLogger(folder, name="this", group="those", entity="us", project="it").start()
    (folder / "run.json").unlink()
    WandbLogger(folder).start()
    assert [(call["name"], call["group"]) for call in calls] == [
        ("t4_fca seed 7", "table4"), ("this", "those"), ("mine seed 7", None)
    ]  # fmt: skip
    assert (calls[1]["entity"], calls[1]["project"]) == ("us", "it")
    assert len({call["id"] for call in calls}) == 1
    assert "WANDB_MODE" not in os.environ


@pytest.mark.parametrize("error", [RuntimeError("diverged"), SystemExit(143)])
def test_a_run_fails_with_its_training(folder: Path, server: Any, error: BaseException) -> None:
    server()
    logger = WandbLogger(folder)
    with pytest.raises(type(error)), wandb_runs([logger]):
        begun = logger._run
        raise error
    assert ("finish", (), {"exit_code": 1}) in begun.calls
    assert not [call for call in begun.calls if call[0] == "log_artifact"]
    assert logger.version is None


def test_other_modes_are_refused_with_the_choices() -> None:
    with pytest.raises(
        ConfigError, match="logger.wandb.mode must be 'offline' or 'online' or 'disabled' or null, got 'WRONG'"
    ):
        compose("train", ["logger=wandb", "logger.wandb.mode=WRONG"])


def test_a_disabled_logger_does_not_even_import_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with wandb_runs([WandbLogger(folder, mode="disabled")]) as _:
        WandbLogger(folder, mode="disabled").log_metrics({"train/loss": 1.0}, step=0)
    assert {path.name for path in folder.iterdir()} == {"config.yaml"}


# what its variables ask for


@pytest.mark.parametrize(
    ("variables", "keys", "mode", "said"),
    [
        ({}, {}, "offline", []),
        ({"WANDB_MODE": ""}, {}, "offline", []),
        ({"WANDB_MODE": "disabled"}, {}, "disabled", []),
        ({"WANDB_MODE": "online"}, {}, "online", []),
        ({"WANDB_MODE": "dryrun"}, {}, "offline", []),
        ({"WANDB_DISABLED": "true"}, {}, "disabled", []),
        ({"WANDB_DISABLED": "true", "WANDB_MODE": "online"}, {}, "disabled", []),
        ({"WANDB_DISABLED": "false"}, {}, "offline", []),
        (
            {"WANDB_MODE": "disabled"},
            {"mode": "offline"},
            "offline",
            ["logger.wandb.mode=offline wins over WANDB_MODE=disa"],
        ),
        (
            {"WANDB_DISABLED": "1"},
            {"mode": "online"},
            "online",
            ["logger.wandb.mode=online wins over WANDB_DISABLED=1"],
        ),
        ({"WANDB_MODE": "offline"}, {"mode": "offline"}, "offline", []),
        ({"WANDB_SWEEP_ID": "s1"}, {}, "online", []),
        ({"WANDB_SWEEP_ID": "s1"}, {"mode": "offline"}, "offline", ["this run is one of the sweep s1, whose agent se"]),
        ({"WANDB_SWEEP_ID": "s1", "WANDB_MODE": "offline"}, {}, "offline", ["this run is one of the sweep s1, whose"]),
        ({"WANDB_PROJECT": "a"}, {"project": "b"}, "offline", ["logger.wandb.project=b wins over WANDB_PROJECT=a"]),
        ({"WANDB_TAGS": "a, b"}, {"tags": ("a", "b")}, "offline", []),
        ({"WANDB_TAGS": "a"}, {"tags": ("a", "b")}, "offline", ["logger.wandb.tags=a,b wins over WANDB_TAGS=a"]),
    ],
)
def test_the_mode_is_that_of_the_key_or_else_of_the_variables(
    variables: dict[str, str], keys: dict[str, Any], mode: str, said: list[str]
) -> None:
    others = {key: value for key, value in keys.items() if key != "mode"}
    settings = wandb_settings(keys.get("mode"), others, environment=variables)
    assert settings.mode == mode
    assert [remark[: len(start)] for remark, start in zip(settings.remarks, said, strict=True)] == said


def test_a_mode_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="WANDB_MODE must be 'online', 'offline' or 'disabled', got 'of line'"):
        wandb_settings(None, {}, environment={"WANDB_MODE": "of line"})


def test_a_run_is_what_the_variables_make_of_it(
    folder: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = server()
    asked = {
        "WANDB_PROJECT": "theirs", "WANDB_ENTITY": "us", "WANDB_RUN_GROUP": "those", "WANDB_NAME": "it",
        "WANDB_NOTES": "so", "WANDB_TAGS": "a, b", "WANDB_DIR": str(tmp_path / "new" / "place"),
        "WANDB_RUN_ID": "abc123", "WANDB_SWEEP_ID": "s1",
    }  # fmt: skip
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    WandbLogger(folder).start()
    WandbLogger(folder, project="mine", tags=["c"]).start()
    monkeypatch.delenv("WANDB_RUN_ID")
    WandbLogger(folder).start()
    for name, value in {
        "mode": "online", "project": "theirs", "entity": "us", "group": "those", "name": "it", "notes": "so",
        "tags": ("a", "b"), "dir": str(tmp_path / "new" / "place"), "id": "abc123",
    }.items():  # fmt: skip
        assert calls[0][name] == value
    assert Path(calls[0]["dir"]).is_dir()
    assert (calls[1]["project"], calls[1]["tags"], calls[2]["id"]) == ("mine", ("c",), "abc123")


@pytest.mark.parametrize("variable", [("WANDB_MODE", "disabled"), ("WANDB_DISABLED", "true")])
def test_variables_that_say_no_leave_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]
) -> None:
    monkeypatch.setenv(*variable)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with wandb_runs([WandbLogger(folder)]):
        pass
    assert {path.name for path in folder.iterdir()} == {"config.yaml"}
