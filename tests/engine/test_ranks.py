"""Which process speaks for a training, whatever a shell was left with; and what is said when another one ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
from engine.runs import fit
from omegaconf import OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from stmask.engine import processes
from stmask.engine.processes import Processes, in_words, is_first_process
from stmask.errors import ConfigError, Interrupted
from stmask.runs.folder import RunFolder, status_of

NAMES = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID",
         "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_JOB_NAME", "TORCHELASTIC_RUN_ID",
         "JSM_NAMESPACE_RANK")  # fmt: skip
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "MASTER_PORT": "1", "MASTER_ADDR": "a"}
STARTED = {"MASTER_PORT": "1", "MASTER_ADDR": "a", "WORLD_SIZE": "2", "NODE_RANK": "0"}  # by Lightning
SLURM = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    return monkeypatch


def first(trainer: dict[str, Any], shell: pytest.MonkeyPatch, environment: dict[str, str]) -> bool:
    for name, value in environment.items():
        shell.setenv(name, value)
    return is_first_process(OmegaConf.create({"accelerator": "cpu", "devices": 1, "num_nodes": 1, **trainer}))


@pytest.mark.parametrize("stray", [*NAMES[:4], "SLURM_PROCID", "JSM_NAMESPACE_RANK"])
def test_a_rank_without_a_training_of_several_processes_says_nothing(shell: pytest.MonkeyPatch, stray: str) -> None:
    assert first({}, shell, {stray: "1"})
    assert first({"devices": "auto"}, shell, {stray: "1"})


@pytest.mark.parametrize(
    ("trainer", "environment", "expected"),
    [
        pytest.param({"devices": 2}, {}, True, id="Lightning will start the others"),
        pytest.param({"devices": 2}, {"RANK": "1", "SLURM_PROCID": "1"}, True, id="with strays"),
        pytest.param({"devices": 2}, {**STARTED, "LOCAL_RANK": "0"}, True, id="Lightning has"),
        pytest.param({"devices": 2}, {**STARTED, "LOCAL_RANK": "1"}, False, id="one of the others"),
        pytest.param({"devices": [0, 1]}, {**STARTED, "LOCAL_RANK": "1", "RANK": "0"}, False, id="with a stray"),
        pytest.param({"num_nodes": 2}, {"MASTER_PORT": "1", "NODE_RANK": "0"}, True, id="a node"),
        pytest.param({"num_nodes": 2}, {"MASTER_PORT": "1", "NODE_RANK": "1"}, False, id="another node"),
        pytest.param(
            {"devices": 2}, {**TORCHRUN, "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, False, id="torchrun"
        ),
        pytest.param({"devices": -1, "accelerator": "gpu"}, {**SLURM, "SLURM_PROCID": "1"}, False, id="SLURM"),
        pytest.param({"devices": 2}, {**SLURM, "SLURM_PROCID": "0", "RANK": "1"}, True, id="SLURM's first"),
    ],
)
def test_the_first_of_several(
    shell: pytest.MonkeyPatch, trainer: dict[str, Any], environment: dict[str, str], expected: bool
) -> None:
    assert first(trainer, shell, environment) == expected


@pytest.mark.parametrize(
    ("trainer", "environment", "message"),
    [
        ({"devices": 2}, {"LOCAL_RANK": "1"}, "LOCAL_RANK=1 is in the environment but not MASTER_PORT.*: unset"),
        ({"devices": 2}, {"NODE_RANK": "1"}, "NODE_RANK=1 is in the environment, but trainer.num_nodes=1: unset"),
        ({}, {**TORCHRUN, "WORLD_SIZE": "2", "RANK": "0"}, "torchrun started 2 processes, trainer.devices=1 .* for 1"),
    ],
)  # fmt: skip
def test_what_would_wait_for_ever_is_refused(
    shell: pytest.MonkeyPatch, trainer: dict[str, Any], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        first(trainer, shell, environment)


def test_a_run_writes_whatever_rank_the_shell_has(shell: pytest.MonkeyPatch, dataset: Path, tmp_path: Path) -> None:
    shell.setenv("RANK", "1")
    shell.setattr(rank_zero_only, "rank", 1)  # what Lightning's import makes of it
    fit(dataset, tmp_path, "trainer.max_steps=1", "scheduler.total_steps=12", "data.num_workers=0", "data.valid=null")
    assert status_of(tmp_path).state == "done"
    assert "train/loss" in (tmp_path / "metrics.csv").read_text()


# --- processes that end


def started(folder: Path, *codes: str) -> Processes:
    made = Processes(RunFolder(folder))
    made._started = [subprocess.Popen([sys.executable, "-S", "-c", code]) for code in codes]
    made._of = 1 + len(codes)
    return made


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (["import os; os.kill(os.getpid(), 9)"], "process 2 of 2 was killed by SIGKILL; to go on .*: resume=auto"),
        (["", "raise SystemExit(2)"], r"process 3 of 3 ended with exit status 2 \(its own words stand above\); to"),
        ([""], "another process of the run ended, and process 1 of 2 with it; to go on"),
    ],
)
def test_a_lost_connection_is_told_by_who_ended(tmp_path: Path, codes: list[str], said: str) -> None:
    others = started(tmp_path, *codes)
    trainer: Any = SimpleNamespace(world_size=1 + len(codes), global_rank=0)
    error = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
    explained = in_words(error, trainer, others)
    assert explained is not None
    assert explained.args[0].count("\n") == 0
    with pytest.raises(type(explained), match=said):
        raise explained
    assert in_words(RuntimeError("shapes do not fit"), trainer, others) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that", "no room in /dev/shm"),
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", r"killed by a signal \(Killed\): .* out of memory"),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly with exit code 3.", "a process that loads data ended; "),
    ],
)
def test_a_worker_that_ends_is_told_in_words(tmp_path: Path, text: str, said: str) -> None:
    explained = in_words(RuntimeError(text), SimpleNamespace(world_size=1), started(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(type(explained), match=said):  # type: ignore[arg-type]
        raise explained  # type: ignore[misc]


def test_a_process_that_waits_for_a_lost_one_is_ended_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "_POLL", 0.01)
    monkeypatch.setattr(processes, "_PATIENCE", 0.02)
    ended: list[int] = []
    monkeypatch.setattr(processes.os, "_exit", ended.append)
    lost = started(tmp_path, "import os; os.kill(os.getpid(), 9)")
    lost._watch()
    assert ended == [2]
    assert str(status_of(tmp_path).error).startswith("process 2 of 2 was killed by SIGKILL; to go on from the last")
    assert capsys.readouterr().err.startswith("stmask: error: process 2 of 2 was killed")


@pytest.fixture
def ddp(shell: pytest.MonkeyPatch) -> pl.Trainer:
    """Of two processes, not begun; starting a process of it starts one that hangs."""
    hanging = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    shell.setattr(processes, "_command", lambda rank: (hanging, None))
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", **silent)


@pytest.mark.parametrize(
    ("error", "patience"), [(ZeroDivisionError(), 0.05), (SystemExit(1), 60.0), (KeyboardInterrupt(), 60.0)]
)
def test_a_process_that_hangs_does_not_outlive_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ddp: pl.Trainer, error: BaseException, patience: float
) -> None:
    monkeypatch.setattr(processes, "_PATIENCE", patience)
    others = Processes(RunFolder(tmp_path))
    start = time.monotonic()
    with pytest.raises(type(error)), others.running(ddp):
        raise error
    assert others._started[0].wait() == -9
    assert time.monotonic() - start < 30


def test_a_run_that_was_told_to_stop_leaves_the_others_to_end(tmp_path: Path, ddp: pl.Trainer) -> None:
    others = Processes(RunFolder(tmp_path))
    with pytest.raises(Interrupted), others.running(ddp):
        raise Interrupted(143)
    assert others._started[0].poll() is None
    others._started[0].kill()


def test_the_others_are_told_how_to_find_this_one(tmp_path: Path, ddp: pl.Trainer) -> None:
    """And Lightning, for as long as it runs, that they are started."""
    environment = ddp.strategy.cluster_environment  # type: ignore[attr-defined]
    before = dict(os.environ)
    others = Processes(RunFolder(tmp_path))
    with others.running(ddp):
        assert environment.creates_processes_externally
        told = {name: os.environ[name] for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR")}
        assert told == {"LOCAL_RANK": "0", "NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        assert os.environ["MASTER_PORT"] == str(environment.main_port)
        others._started[0].kill()
    assert dict(os.environ) == before
