"""A run's folder: who may write in it, what it says of its run, and what a run may go on from."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from engine.runs import LONG, content, fit, same
from omegaconf import OmegaConf

from stmask.cli import main
from stmask.config import compose
from stmask.engine.metrics_log import MetricsLog
from stmask.engine.train import train
from stmask.errors import CheckpointError, ConfigError, DataError, Interrupted, OutputError
from stmask.runs import lock as folder_lock
from stmask.runs import provenance
from stmask.runs.folder import Origin, RunFolder, state_of, status_of
from stmask.runs.identity import config_hash

# holds a folder, with a process forked from it, until both are killed
HOLDER = """
import os, sys, time
from stmask.runs.folder import RunFolder
folder = RunFolder(sys.argv[1])
with folder.locked(), folder.attempt(resumed=False):
    if os.fork():
        print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_run_and_free_when_that_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert state_of(tmp_path) == "running"
    message = f"{tmp_path} is in use by another run \\(process {holder.pid} on "
    with pytest.raises(OutputError, match=message), RunFolder(tmp_path).locked():
        pass
    holder.kill()
    holder.wait()
    assert state_of(tmp_path) == "cut off"  # though the forked process lives on
    with RunFolder(tmp_path).locked():
        pass


def test_a_second_run_leaves_a_held_folder_as_it_is(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder_lock, "_PATIENCE", 0.0)
    with RunFolder(tmp_path).locked(), RunFolder(tmp_path).attempt(resumed=False):
        logging.getLogger("stmask").warning("held")
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert main(["train", *LONG, f"data.root={dataset}", f"output_dir={tmp_path}"]) == 2
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert "in use by another run" in capsys.readouterr().err
    assert "WARNING stmask: held" in (tmp_path / "train.log").read_text()


def test_a_folder_that_was_made_for_nothing_is_removed(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint to resume from"):
        fit(dataset, tmp_path / "run", f"resume={tmp_path / 'none.ckpt'}")
    assert not list(tmp_path.iterdir())


def test_a_look_at_a_folder_does_not_keep_a_run_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked(), folder.attempt(resumed=False):
        for _ in range(3):
            assert state_of(tmp_path) == "running"
    assert state_of(tmp_path) == "done"


def test_the_end_of_an_attempt_is_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert state_of(tmp_path) == "new"
    with pytest.raises(DataError), folder.attempt(resumed=False):
        raise DataError("no such file:\n  train.json")
    status = status_of(tmp_path)
    assert (status.state, status.error, status.attempts) == ("failed", "no such file:; train.json", 1)
    with pytest.raises(ZeroDivisionError), folder.attempt(resumed=True):
        print(1 / 0)
    assert status_of(tmp_path).error == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in (tmp_path / "train.log").read_text()
    with pytest.raises(Interrupted), folder.attempt(resumed=True):
        raise Interrupted(143)
    status = status_of(tmp_path)
    assert (status.state, status.error, status.attempts) == ("interrupted", None, 3)
    assert status.started is not None
    assert status.finished is not None


def test_a_broken_status_is_that_of_a_new_run(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": "run')
    assert state_of(tmp_path) == "new"


def test_other_processes_of_a_run_leave_its_folder_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, first=False)
    with folder.locked(), folder.attempt(resumed=False):
        folder.reached(3)
        folder.summarise({"step": 3})
        folder.describe(OmegaConf.create({"seed": 0}), {}, changes="a patch")
    assert not list(tmp_path.iterdir())


# --- metrics.csv


def test_a_log_is_taken_up_where_its_run_goes_on(tmp_path: Path) -> None:
    whole, cut = MetricsLog(tmp_path / "whole.csv"), MetricsLog(tmp_path / "cut.csv")
    for log in (whole, cut):
        log.log_metrics({"loss": 0.1}, step=0)
        log.log_metrics({"AP": 0.5, "loss": 1e-9}, step=1)
    rows = cut.rows
    cut.log_metrics({"b": 2.0}, step=2)
    with cut.file.open("a") as handle:
        handle.write("3,0.")  # killed here
    resumed = MetricsLog(cut.file)
    resumed.keep(rows)
    for log in (whole, resumed):
        log.log_metrics({"c": 3.0}, step=2)
        log.log_metrics({"loss": 0.25}, step=3)
    assert (
        cut.file.read_text() == whole.file.read_text() == "step,AP,c,loss\n0,,,0.1\n1,0.5,,1e-09\n2,,3.0,\n3,,,0.25\n"
    )


# --- whole runs


@pytest.fixture(scope="module")
def short(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended within its second epoch."""
    output = tmp_path_factory.mktemp("short")
    origin = Origin(("stmask", "train"), ("seed=0",), "table4/t4_fca", "table4")
    cfg = compose("train", [*LONG, *SHORT, f"data.root={dataset}", f"output_dir={output}"])
    train(cfg, origin=origin)
    return output


SHORT = ["trainer.max_steps=7", "scheduler.total_steps=12"]


def test_a_run_says_what_it_was_made_of(short: Path, dataset: Path) -> None:
    record = json.loads((short / "run.json").read_text())
    assert record["command"] == ["stmask", "train"]
    assert record["overrides"] == ["seed=0"]
    assert (record["experiment"], record["table"], record["seed"]) == ("table4/t4_fca", "table4", 0)
    cfg = OmegaConf.load(short / "config.yaml")
    assert record["hash"] == config_hash(cfg)
    assert {"python", "torch", "pytorch-lightning", "stmask", "numpy", "cuda"} <= record["versions"].keys()
    assert record["machine"]["cpus"] >= 1
    weights = [value for name, value in content(short)["state_dict"].items() if name.startswith("model.")]
    assert 0 < record["parameters"] <= sum(value.numel() for value in weights)


def test_the_state_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "stmask"
    package.mkdir()
    (package / "__init__.py").write_text("a = 1\n")
    monkeypatch.setattr(provenance.stmask, "__file__", str(package / "__init__.py"))

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    assert provenance._git() is None
    git("init", "--quiet")
    assert provenance._git() is None  # an environment that lies in somebody's checkout
    git("add", ".")
    git("commit", "--quiet", "-m", "a")
    state = provenance._git()
    assert state is not None
    assert (state["dirty"], state["untracked"], provenance.code_changes()) == (False, [], "")
    (package / "__init__.py").write_text("a = 2\n")
    (package / "new.py").write_text("")
    state = provenance._git()
    assert state is not None
    assert (len(state["commit"]), state["dirty"], state["untracked"]) == (40, True, ["stmask/new.py"])
    changes = provenance.code_changes()
    assert changes is not None
    assert "+a = 2" in changes


def test_the_summary_is_of_the_best_validation_alone(short: Path) -> None:
    summary = json.loads((short / "summary.json").read_text())
    lines = (short / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","))) for line in lines[1:]]
    epoch, end = [row for row in rows if row["valid/AP"]]  # a training is validated where it ends, too
    logged, step = (end, 7) if float(end["valid/AP"]) > float(epoch["valid/AP"]) else (epoch, 5)
    assert summary["step"] == step
    figures = {name: value for name, value in summary.items() if name.startswith("valid/")}
    assert figures == {name: float(value) for name, value in logged.items() if name.startswith("valid/")}


def test_a_run_is_not_begun_over_another_one(short: Path, dataset: Path) -> None:
    before = (short / "status.json").read_bytes()
    with pytest.raises(ConfigError, match=r"holds a run already: go on with it \(resume=auto\)"):
        fit(dataset, short, *SHORT)
    assert (short / "status.json").read_bytes() == before


def test_a_run_does_not_go_on_with_another_configuration(short: Path, dataset: Path, tmp_path: Path) -> None:
    changed = ["optimizer.lr=0.5", "seed=1"]
    with pytest.raises(ConfigError, match=r"optimizer\.lr: 0\.002 -> 0\.5; seed: 0 -> 1\): .* init_from"):
        fit(dataset, short, *SHORT, *changed, "data.seed=0", "resume=auto")
    with pytest.raises(ConfigError, match=r"optimizer\.lr: 0\.002 -> 0\.5"):
        fit(dataset, tmp_path, *SHORT, *changed, f"resume={short / 'checkpoints' / 'last.ckpt'}")


def test_a_run_that_is_done_stays_as_it_is(short: Path, dataset: Path) -> None:
    weights, metrics, summary = (
        content(short)["state_dict"],
        *map(Path.read_bytes, (short / "metrics.csv", short / "summary.json")),
    )
    figures = fit(dataset, short, *SHORT, "resume=auto")
    before = json.loads(summary)
    assert figures.pop("train_seconds") == pytest.approx(before.pop("train_seconds"), abs=1)
    assert figures == before
    assert (short / "metrics.csv").read_bytes() == metrics
    assert all(value.equal(content(short)["state_dict"][name]) for name, value in weights.items())
    assert state_of(short) == "done"


def test_a_run_that_is_done_may_keep_its_best_checkpoint_alone(dataset: Path, tmp_path: Path) -> None:
    small = ["data.samples_per_epoch=4", "trainer.max_steps=2", "keep_last=false"]
    fit(dataset, tmp_path, *small)
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["best.ckpt"]
    before = (tmp_path / "checkpoints" / "best.ckpt").read_bytes()
    with pytest.raises(ConfigError, match=r"is done and kept no last\.ckpt to go on from"):
        fit(dataset, tmp_path, *small, "resume=auto")
    assert state_of(tmp_path) == "done"
    assert (tmp_path / "checkpoints" / "best.ckpt").read_bytes() == before


def test_without_a_best_checkpoint_the_last_one_is_kept(dataset: Path, tmp_path: Path) -> None:
    fit(dataset, tmp_path, "trainer.max_steps=2", "data.valid=null", "keep_last=false")
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


def test_a_run_may_be_prolonged_and_moved(short: Path, dataset: Path, tmp_path: Path) -> None:
    fit(dataset, tmp_path / "whole")
    moved = short.rename(tmp_path / "moved")
    fit(dataset, moved, "resume=auto")
    a, b = content(tmp_path / "whole"), content(moved)
    assert all(same(a[part], b[part]) for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"))
    lines = [(folder / "metrics.csv").read_text().splitlines() for folder in (tmp_path / "whole", moved)]
    (added,) = set(lines[1]) - set(lines[0])  # the short training was validated where it ended
    assert [line for line in lines[1] if line != added] == lines[0]


def test_to_resume_what_never_began_is_to_begin(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        fit(tmp_path / "nothing", tmp_path / "run", "data.valid=null")
    assert state_of(tmp_path / "run") == "failed"
    fit(dataset, tmp_path / "run", "data.valid=null", "resume=auto", "trainer.max_steps=2")
    assert (state_of(tmp_path / "run"), status_of(tmp_path / "run").attempts) == ("done", 2)


def test_the_best_stays_the_best_through_a_resume(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three validations is the best."""
    from stmask.engine.validation import Validator

    real = Validator.finish
    found = iter([0.25, 0.75, 0.5])

    def finish(self: Validator) -> dict[str, float]:
        ap = next(found)
        return {**real(self), "AP": ap, "AP50": ap / 2}

    monkeypatch.setattr(Validator, "finish", finish)
    fit(dataset, tmp_path, "trainer.max_steps=10", "scheduler.total_steps=15")
    summary = fit(dataset, tmp_path, "trainer.max_steps=15", "resume=auto")
    assert (summary["valid/AP"], summary["valid/AP50"], summary["step"]) == (0.75, 0.375, 10)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
