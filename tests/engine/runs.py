"""Runs for the tests of their interruption, and what must be equal of two of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from engine.tiny import TINY

from stmask.config import compose
from stmask.engine.module import VISModule
from stmask.engine.train import train

# two epochs of five steps and a validation, with a third begun, and a validation where that ends
LONG = [*TINY, "data.samples_per_epoch=10", "trainer.max_steps=12", "checkpoint_every=null", "records=none"]


def fit(dataset: Path, output: Path, *overrides: str) -> dict[str, float]:
    return train(compose("train", [*LONG, f"data.root={dataset}", f"output_dir={output}", *overrides]))


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
