from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stmask.data.loaders import PairLoader
from stmask.engine.performance import Performance
from stmask.structures import Clip


class Slow(torch.utils.data.IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        for value in range(3):
            time.sleep(0.02)
            yield value


def pair_batch() -> Clip:
    """Three clips of two frames."""
    return Clip(
        frames=torch.zeros(3, 2, 3, 4, 4),
        image_sizes=torch.zeros(3, 2, 2, dtype=torch.int64),
        targets=((None, None),) * 3,  # type: ignore[arg-type]
        video_ids=torch.zeros(3, dtype=torch.int64),
        frame_indices=torch.zeros(3, 2, dtype=torch.int64),
    )


class Logger:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((step, metrics))


def trainer(**changes: Any) -> Any:
    usual: dict[str, Any] = {
        "is_global_zero": True, "global_step": 0, "log_every_n_steps": 2, "world_size": 2,
        "strategy": SimpleNamespace(root_device=torch.device("cpu")),
        "train_dataloader": SimpleNamespace(seconds_waited=0.0),
    }  # fmt: skip
    return SimpleNamespace(**usual | changes)


def run_steps(callback: Performance, running: Any, *, until: int, wait: float = 0.0, batches: int = 1) -> None:
    module: Any = None
    callback.on_train_start(running, module)
    while running.global_step < until:
        for batch in range(batches):
            running.train_dataloader.seconds_waited += wait
            callback.on_train_batch_start(running, module, pair_batch(), 0)
            running.global_step += batch == batches - 1
            callback.on_train_batch_end(running, module, None, pair_batch(), 0)


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "performance.csv").open(newline="") as handle:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(handle)]


def test_a_row_for_every_interval(tmp_path: Path) -> None:
    running = trainer()
    run_steps(Performance(tmp_path), running, until=5, wait=2.0)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 3]
    assert "performance/gpu_memory_gib" not in rows[0]  # no GPU, no metric
    assert rows[0]["performance/step_seconds"] == pytest.approx(2, abs=0.1)
    assert rows[0]["performance/data_wait_share"] == pytest.approx(1, abs=0.05)
    assert rows[0]["performance/samples_per_second"] == pytest.approx(3 * 2 / 2, abs=0.2)  # two processes
    assert rows[0]["performance/frames_per_second"] == pytest.approx(2 * 3 * 2 / 2, abs=0.4)
    assert 0.01 < rows[0]["performance/memory_gib"] < 100


def test_loggers_get_the_same_rows(tmp_path: Path) -> None:
    logger = Logger()
    run_steps(Performance(tmp_path, [logger]), trainer(), until=2)  # type: ignore[list-item]
    ((step, metrics),) = logger.rows
    (row,) = rows_of(tmp_path)
    assert row == {"step": step} | {name: pytest.approx(value, rel=1e-5) for name, value in metrics.items()}


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    run_steps(Performance(tmp_path), trainer(), until=4, wait=1.0, batches=3)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 3]
    assert rows[1]["performance/step_seconds"] == pytest.approx(3, abs=0.1)


def test_a_resumed_run_keeps_the_rows_before_it(tmp_path: Path) -> None:
    run_steps(Performance(tmp_path), trainer(), until=6)
    whole = (tmp_path / "performance.csv").read_text()
    (tmp_path / "performance.csv").write_text(whole + "7,0.1")  # killed while it wrote
    run_steps(Performance(tmp_path), trainer(global_step=4), until=8)
    again = (tmp_path / "performance.csv").read_text()
    assert again.splitlines()[:3] == whole.splitlines()[:3]
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 3, 5, 7]


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    run_steps(Performance(tmp_path), trainer(is_global_zero=False), until=4)
    assert not list(tmp_path.iterdir())


def test_the_loader_counts_how_long_it_was_waited_for() -> None:
    loader = PairLoader(Slow(), batch_size=None)  # type: ignore[arg-type]
    start = time.perf_counter()
    for _ in range(2):
        for _ in loader:
            time.sleep(0.03)  # the step, which is no waiting
    assert loader.seconds_waited >= 2 * 3 * 0.02
    assert time.perf_counter() - start - loader.seconds_waited >= 2 * 3 * 0.03
