"""Runs that are stopped by signals go on as if they had not been."""

from __future__ import annotations

import csv
import errno
import itertools
import logging
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.runs import assert_same_run, content, fit, signalled

from stmask.checkpoints import format as checkpoint_module
from stmask.engine import interruption
from stmask.engine.checkpoint_callbacks import AtomicCheckpointIO, TimeLimit
from stmask.engine.interruption import StopRequest
from stmask.engine.module import VISModule
from stmask.errors import Interrupted, OutputError
from stmask.runs.folder import state_of, status_of


@pytest.fixture(scope="module")
def unbroken(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("unbroken")
    fit(dataset, output)
    return output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "step", "kept", "num_workers"),
    [
        pytest.param("training_step", 1, 2, 0, id="within an epoch"),
        pytest.param("training_step", 1, 2, 2, id="within an epoch, with workers"),
        pytest.param("training_step", 4, 5, 2, id="in the last step of an epoch, with workers"),
        pytest.param("validation_step", 5, 5, 0, id="in a validation"),
        pytest.param("on_validation_epoch_end", 5, 5, 0, id="at the end of an epoch"),
        pytest.param("training_step", 6, 7, 0, id="within another epoch"),
    ],
)
def test_a_stopped_run_goes_on_exactly(
    unbroken: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    step: int,
    kept: int,
    num_workers: int,
) -> None:
    with monkeypatch.context() as patch:
        signalled(patch, hook, signal.SIGTERM, step=step)
        with pytest.raises(Interrupted) as stopped:
            fit(dataset, tmp_path, f"data.num_workers={num_workers}")
    assert stopped.value.code == 143
    assert content(tmp_path)["global_step"] == kept
    status = status_of(tmp_path)
    assert (status.state, status.step, status.attempts) == ("interrupted", kept, 1)
    assert not (tmp_path / "summary.json").exists()
    fit(dataset, tmp_path, f"data.num_workers={num_workers}", "resume=auto")
    assert_same_run(unbroken, tmp_path)
    status = status_of(tmp_path)
    assert (status.state, status.step, status.attempts) == ("done", 12, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "step", "kept"),
    [
        pytest.param("training_step", 2, 3, id="before a validation"),
        pytest.param("validation_step", 6, 6, id="in a validation"),
        pytest.param("on_validation_epoch_end", 6, 6, id="after a validation"),
    ],
)
def test_validations_within_epochs(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, step: int, kept: int
) -> None:
    shape = ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=3", "trainer.max_steps=8"]
    shape.append("data.num_workers=0")
    fit(dataset, tmp_path / "unbroken", *shape)
    with monkeypatch.context() as patch:
        signalled(patch, hook, signal.SIGTERM, step=step)
        with pytest.raises(Interrupted):
            fit(dataset, tmp_path / "stopped", *shape)
    assert content(tmp_path / "stopped")["global_step"] == kept
    fit(dataset, tmp_path / "stopped", *shape, "resume=auto")
    assert_same_run(tmp_path / "unbroken", tmp_path / "stopped")


def test_ctrl_c_waits_for_the_step(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        signalled(patch, "training_step", signal.SIGINT, step=1)
        with pytest.raises(Interrupted) as stopped:
            fit(dataset, tmp_path / "once", "data.valid=null")
    assert stopped.value.code == 130
    assert content(tmp_path / "once")["global_step"] == 2


def test_a_second_ctrl_c_does_not_wait(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_HEARD", "_ENDED"):  # on a busy machine the end takes long, and the process of the tests would go
        monkeypatch.setattr(interruption, name, 300.0)
    signalled(monkeypatch, "training_step", signal.SIGINT, step=1)
    signalled(monkeypatch, "training_step", signal.SIGINT, step=1)
    with pytest.raises(SystemExit):
        fit(dataset, tmp_path / "twice", "data.valid=null")
    assert state_of(tmp_path / "twice") == "interrupted"
    assert not (tmp_path / "twice" / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_the_signals_of_clusters(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    before = signal.getsignal(number)
    signalled(monkeypatch, "training_step", number, step=0)
    with pytest.raises(Interrupted) as stopped:
        fit(dataset, tmp_path, "data.valid=null")
    assert stopped.value.code == 143
    assert content(tmp_path)["global_step"] == 1
    assert signal.getsignal(number) is before


def test_a_stop_waits_for_the_gradients_of_a_step(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of its first forward passes would be lost."""
    shape = ["trainer.accumulate_grad_batches=2", "data.samples_per_epoch=8", "trainer.max_steps=4", "data.valid=null"]
    fit(dataset, tmp_path / "unbroken", *shape)
    with monkeypatch.context() as patch:
        signalled(patch, "training_step", signal.SIGTERM, step=0)
        with pytest.raises(Interrupted):
            fit(dataset, tmp_path / "stopped", *shape)
    assert content(tmp_path / "stopped")["global_step"] == 1
    fit(dataset, tmp_path / "stopped", *shape, "resume=auto")
    assert_same_run(tmp_path / "unbroken", tmp_path / "stopped")


def write_for_ever(path: str) -> None:
    """Checkpoints of a megabyte, each of one number."""
    for number in range(1_000_000):
        AtomicCheckpointIO().save_checkpoint({"weights": torch.full((250_000,), float(number))}, path)


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(250_000)}, str(path))
    dice = random.Random(0)
    litter = 0
    for _ in range(20):
        writer = fork.Process(target=write_for_ever, args=(str(path),))
        writer.start()
        time.sleep(dice.uniform(0, 0.06))
        writer.kill()
        writer.join()
        weights = torch.load(path, weights_only=True)["weights"]
        assert weights.shape == (250_000,)
        assert bool((weights == weights[0]).all())
        litter += len(list(tmp_path.iterdir())) > 1
    assert litter  # or else no kill came while a file was being written


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not(
    unbroken: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # a server finds what it preloads by this alone
    server = multiprocessing.get_context("forkserver")  # a process that used autograd must not be forked
    server.set_forkserver_preload(["engine.runs"])
    last, dice = tmp_path / "checkpoints" / "last.ckpt", random.Random(0)
    steps = []
    for _ in range(3):
        process = server.Process(target=fit, args=(dataset, tmp_path, "resume=auto", "checkpoint_every=1"))
        process.start()
        reached = status_of(tmp_path).step
        while process.is_alive() and status_of(tmp_path).step <= reached:
            time.sleep(0.02)
        time.sleep(dice.uniform(0, 0.3))
        process.kill()
        process.join()
        assert content(tmp_path)["global_step"] > reached
        assert state_of(tmp_path) == "cut off"
        steps.append(status_of(tmp_path).step)
    (last.parent / ".last.abc.tmp.ckpt").write_bytes(b"half")
    fit(dataset, tmp_path, "resume=auto", "checkpoint_every=1")
    assert {path.name for path in last.parent.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert_same_run(unbroken, tmp_path)
    assert status_of(tmp_path).attempts == 4


def test_a_full_disk_fails_the_run_and_leaves_the_last_checkpoint(
    unbroken: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.save

    def save(saved: dict[str, Any], handle: Any) -> None:
        if saved["global_step"] == 7:
            handle.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(saved, handle)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module.torch, "save", save)
        with pytest.raises(OutputError, match=r"last\.ckpt: No space left"):
            fit(dataset, tmp_path, "checkpoint_every=1")
    status = status_of(tmp_path)
    assert (status.state, status.step) == ("failed", 6)
    assert status.error is not None
    assert "No space left" in status.error
    assert "Traceback" in (tmp_path / "train.log").read_text()
    assert content(tmp_path)["global_step"] == 6
    fit(dataset, tmp_path, "resume=auto", "checkpoint_every=1")
    assert_same_run(unbroken, tmp_path)


# --- ends that are no stops


def ends(output: Path) -> tuple[int, bool]:
    """The step of the last checkpoint, and whether a validation after it was counted."""
    step = int(content(output)["global_step"])
    logged = (output / "metrics.csv").read_text().splitlines()
    column = logged[0].split(",").index("valid/AP")
    validated = any(row.split(",")[0] == str(step - 1) and row.split(",")[column] for row in logged[1:])
    return step, validated and (output / "checkpoints" / "best.ckpt").exists()


def losses(output: Path) -> list[str]:
    with (output / "metrics.csv").open() as handle:
        return [row["train/loss"] for row in csv.DictReader(handle) if row["train/loss"]]


RARELY = ["trainer.check_val_every_n_epoch=9", "data.num_workers=0"]


def test_a_time_limit_ends_a_run_with_its_validation_and_it_goes_on(
    unbroken: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The clock ticks with each step; each attempt has its time anew."""
    steps = iter(range(1, 100))
    monkeypatch.setattr(TimeLimit, "time_elapsed", lambda self, *stage: float(next(steps)))
    limit = "trainer.max_time=00:00:00:03"
    with caplog.at_level(logging.INFO):
        assert "valid/AP" in fit(dataset, tmp_path, limit, *RARELY)
    assert ends(tmp_path) == (3, True)
    assert "trainer.max_time is over after step 3; to go on: resume=auto" in (tmp_path / "train.log").read_text()
    assert (state_of(tmp_path), (tmp_path / "summary.json").exists()) == ("done", True)
    steps = iter(range(1, 100))
    fit(dataset, tmp_path, limit, *RARELY, "resume=auto")
    assert ends(tmp_path) == (6, True)
    assert losses(tmp_path) == losses(unbroken)[:6]


@pytest.mark.parametrize(
    ("hook", "step", "overrides"),
    [
        pytest.param("on_train_batch_end", 2, ["trainer.accumulate_grad_batches=2"], id="within a step"),
        pytest.param("on_train_epoch_end", 5, [], id="after an epoch"),
    ],
)
def test_whatever_ends_a_training_it_is_validated_there(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, step: int, overrides: list[str]
) -> None:
    calls = itertools.count(1)

    def stop(self: VISModule, *_: Any) -> None:
        if hook == "on_train_epoch_end" or next(calls) == 3:
            self.trainer.should_stop = True

    monkeypatch.setattr(VISModule, hook, stop)
    fit(dataset, tmp_path, *RARELY, *overrides)
    assert ends(tmp_path) == (step, True)
    best = content(tmp_path)["callbacks"]
    assert any(state.get("step") == step for state in best.values())


# --- processes that hang


@pytest.mark.parametrize(
    ("patient", "heard", "signals", "ended"),
    [
        pytest.param(False, False, 1, True, id="a start that hangs"),
        pytest.param(True, False, 1, False, id="a long step"),
        pytest.param(True, False, 2, True, id="a step that hangs"),
        pytest.param(True, True, 2, True, id="an end that hangs"),
    ],
)
def test_a_thread_ends_what_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, patient: bool, heard: bool, signals: int, ended: bool
) -> None:
    for name, seconds in {"_ECHO": 0.01, "_HEARD": 0.03, "_ENDED": 0.06}.items():
        monkeypatch.setattr(interruption, name, seconds)
    found: list[int] = []
    stop = StopRequest(end_now=found.append)
    stop.patient = patient
    monkeypatch.setattr(stop, "_take", lambda number, frame: setattr(stop, "_ending", heard))
    with stop.listening():
        for _ in range(signals):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.03)
        time.sleep(0.15)
    assert bool(found) == ended
    assert set(found) <= {143}
    assert signal.set_wakeup_fd(-1) == -1


def test_a_second_sigterm_ends_at_once_but_an_echo_of_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopRequest(end_now=lambda status: None)
    with stop.listening():
        stop.patient = True
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        monkeypatch.setattr(interruption, "_ECHO", 0.0)
        with pytest.raises(Interrupted) as stopped:
            signal.raise_signal(signal.SIGTERM)
    assert stopped.value.code == 143
