"""Runs that are stopped by signals go on as if they had not been."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.tiny import TINY

from stmask.config import compose
from stmask.engine.module import VISModule
from stmask.engine.run_folder import status_of
from stmask.engine.train import train
from stmask.errors import Interrupted

# two epochs of five steps and a validation, with a third begun
LONG = [*TINY, "data.samples_per_epoch=10", "trainer.max_steps=12", "checkpoint_every=null", "records=none"]


def fit(dataset: Path, output: Path, *overrides: str) -> dict[str, float]:
    return train(compose("train", [*LONG, f"data.root={dataset}", f"output_dir={output}", *overrides]))


@pytest.fixture(scope="module")
def unbroken(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("unbroken")
    fit(dataset, output)
    return output


def signalled(monkeypatch: pytest.MonkeyPatch, hook: str, number: int, *, step: int) -> None:
    """Sends this process a signal in the first call of a module's hook in which so many steps are done."""
    real = getattr(VISModule, hook)
    sent: list[int] = []

    def wrapped(self: VISModule, *args: Any) -> Any:
        if self.global_step == step and not sent:
            sent.append(step)
            os.kill(os.getpid(), number)
        return real(self, *args)

    monkeypatch.setattr(VISModule, hook, wrapped)


def content(output: Path) -> dict[str, Any]:
    return torch.load(output / "checkpoints" / "last.ckpt", weights_only=True)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def assert_same_run(first: Path, second: Path) -> None:
    a, b = content(first), content(second)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert same(a[part], b[part]), part
    loader = [x["loops"]["fit_loop"]["state_dict"]["combined_loader"] for x in (a, b)]
    assert loader[0] == loader[1]
    assert (first / "metrics.csv").read_bytes() == (second / "metrics.csv").read_bytes()
    figures = [json.loads((x / "summary.json").read_text()) for x in (first, second)]
    for summary in figures:
        assert summary.pop("train_seconds") > 0
    assert figures[0] == figures[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "step", "kept", "num_workers"),
    [
        pytest.param("training_step", 1, 2, 0, id="within an epoch"),
        pytest.param("training_step", 1, 2, 2, id="within an epoch, with workers"),
        pytest.param("training_step", 4, 5, 2, id="in the last step of an epoch, with workers"),
        pytest.param("validation_step", 5, 5, 0, id="in a validation"),
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
