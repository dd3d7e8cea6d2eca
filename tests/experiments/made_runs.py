"""Folders of runs as a sweep leaves them, with metrics that are made up and nothing trained."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from stmask.config import compose
from stmask.experiments.speed import Conditions, Speed

TINY = ("recipe=tiny", "data.root=/videos/synthetic")
CPU = Conditions(device="a processor", precision="float32", threads=2, torch="2.11.0")


@cache
def _config(experiment: str, overrides: tuple[str, ...]) -> str:
    cfg = compose("train", [f"experiment={experiment}", *overrides], check=False)
    return OmegaConf.to_yaml(cfg, resolve=True)


def made_speed(fps: float, conditions: Conditions = CPU) -> Speed:
    return Speed(
        milliseconds=1000 / fps, p10=900 / fps, p90=1200 / fps, frames=100, objects=3.5,
        stages={"preprocessing": 1.0, "network": 20.0, "tracking": 4.0}, height=96, width=160, conditions=conditions,
    )  # fmt: skip


def write_run(
    folder: Path,
    experiment: str = "table4/t4_fca",
    *,
    overrides: Sequence[str] = TINY,
    seed: int = 0,
    ap: float = 0.25,
    state: str = "done",
    finished: str = "2026-01-01T10:00:00+00:00",
    fps: float | None = None,
    conditions: Conditions = CPU,
    **metrics: float,
) -> Path:
    """One run; `ap` in [0, 1] is that of its best validation, the last of three."""
    words = (f"experiment={experiment}", f"seed={seed}", *overrides)
    made = {
        "command": ["stmask", "train", *words], "overrides": list(words), "experiment": experiment,
        "table": experiment.split("/")[0], "hash": "0" * 8, "seed": seed, "parameters": 1_234_567,
    }  # fmt: skip
    status = {"state": state, "error": "diverged" if state == "failed" else None, "started": finished,
              "finished": finished, "host": "here", "pid": 1, "attempts": 1, "step": 300}  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(_config(experiment, (f"seed={seed}", *overrides)))
    _write_json(folder / "run.json", made)
    _write_json(folder / "status.json", status)
    with (folder / "metrics.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["epoch", "step", "train/loss", "valid/AP"])
        writer.writeheader()
        for part in (1, 2, 3):
            writer.writerow({"epoch": part, "step": 100 * part - 1, "train/loss": 4 / part})
            writer.writerow({"epoch": part, "step": 100 * part - 1, "valid/AP": ap * part / 3})
    if state == "done":
        summary = {"valid/AP": ap, "valid/AP50": 1.5 * ap, "valid/AP75": ap, "valid/APL": -1.0, "step": 300}
        named = {f"valid/{name}": value for name, value in metrics.items()}
        _write_json(folder / "summary.json", {**summary, **named, "train_seconds": 3900.0 + seed})
    if fps is not None:
        _write_json(folder / "fps.json", made_speed(fps, conditions).to_dict())
    return folder


def write_sweep(root: Path, aps: Mapping[str, Sequence[float]], *, overrides: Sequence[str] = TINY) -> Path:
    """Runs of several rows: experiment -> AP of seed 0, 1, ..; with a speed each."""
    for number, (experiment, values) in enumerate(aps.items()):
        for seed, ap in enumerate(values):
            folder = root / "sweeps" / f"{experiment.replace('/', '-')}-{number:08x}" / f"seed_{seed}"
            write_run(folder, experiment, overrides=overrides, seed=seed, ap=ap, fps=40.0 - 5 * number + 0.3 * seed)
    return root


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
