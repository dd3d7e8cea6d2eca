from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from stmask.errors import DataError
from stmask.evaluation.causes import Cause
from stmask.files import write_json
from stmask.plots import run
from stmask.runs.history import RunHistory, read_history

METRICS = {"AP": 0.3, "AP50": 0.5, "AP75": 0.2, "AR10": 0.4}


def write_run(folder: Path, *, videos: bool = True, steps: int = 120) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("name: mine\nseed: 7\nmonitor: valid/AP\n")
    machine = {"cpus": 2, "gpus": []}
    write_json(folder / "run.json", {"parameters": 2_000_000, "git": {"commit": "0123456789abc"}, "machine": machine})
    columns = "step,lr-SGD,train/loss,train/mask,train/grad_norm,train/skipped_steps"
    lines = [f"{i},0.1,{4 - i / 100},{1 + i % 2},3,0" for i in range(steps)]
    (folder / "metrics.csv").write_text("\n".join([columns, *lines]) + "\n")
    (folder / "performance.csv").write_text("step,performance/step_seconds,performance/memory_gib\n9,0.5,1.5\n")
    for step in (60, 120):
        record = folder / "validation" / f"step_{step:08d}"
        causes = {f"explain/{kind}/{cause.name.lower()}": 0.1 for kind in ("cost", "missed") for cause in Cause}
        values = {**METRICS, **(causes if videos else {})}
        write_json(record / "figures.json", {"step": step, **{f"valid/{k}": v for k, v in values.items()}})
        rows = [f"{i},class {i},{i},2,0.{i},0.{i}" for i in range(5)]
        (record / "classes.csv").write_text("\n".join(["category_id,name,tracks,predictions,AP,AP50", *rows]) + "\n")
        if videos:
            cv2.imwrite(str(record / "clips.png"), np.zeros((20, 40, 3), np.uint8))
            (record / "clip.mp4").write_bytes(b"film")
    return folder


@pytest.fixture
def history(tmp_path: Path) -> RunHistory:
    return read_history(write_run(tmp_path))


def test_the_overview_says_what_came_of_it(history: RunHistory) -> None:
    lines = dict(line.split(":", 1) for line in run.overview(history).splitlines())
    assert lines["run"].strip() == "mine, seed 7"
    assert lines["network"].strip() == "2.0 million parameters"
    assert lines["code"].strip() == "0123456789"
    assert lines["machine"].strip() == "2 CPU cores"
    assert lines["best"].strip() == "AP 30.0, AP50 50.0, AP75 20.0, AR10 40.0 at step 60"


def test_a_chart_for_each_loss(history: RunHistory) -> None:
    figure = run.losses(history)
    assert [axis.get_title() for axis in figure.axes] == ["loss (sum)", "mask"]
    raw, smooth = figure.axes[1].lines  # it jumps between 1 and 2
    assert set(raw.get_ydata()) == {1, 2}
    assert 1.2 < smooth.get_ydata()[-1] < 1.8


def test_charts_of_the_optimisation_and_of_the_speed(history: RunHistory) -> None:
    optimisation, performance = run.optimisation(history), run.performance(history)
    assert [axis.get_title() for axis in optimisation.axes] == ["learning rate (SGD)", "gradient norm", "skipped steps"]
    assert [axis.get_title() for axis in performance.axes] == ["seconds per step", "memory, GiB"]
    for figure in (optimisation, performance):
        assert [axis.get_ylim()[0] for axis in figure.axes] == [0] * len(figure.axes)
        assert figure.get_supxlabel() == "optimiser steps"


def test_quality_and_classes_are_in_percent(history: RunHistory) -> None:
    (axis,) = run.quality(history).axes
    curves = {line.get_label(): line for line in axis.lines}
    assert curves["AP50"].get_xydata().tolist() == [[60, 50], [120, 50]]
    (axis,) = run.classes(history.best).axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == [f"class {i}  ({i})" for i in range(1, 5)]  # class 0 has no objects
    assert max(bar.get_width() for bar in axis.patches) == 40


def test_causes_cost_points(history: RunHistory) -> None:
    curves, costs, counts = run.errors(history).axes
    assert len(curves.lines) == len(Cause)
    assert {round(bar.get_width(), 6) for bar in costs.patches} == {10}
    assert sum(bar.get_width() for bar in counts.patches) == pytest.approx(0.1 * len(Cause))


def test_pictures_are_shown(history: RunHistory) -> None:
    assert run.sheet(history.best).axes[0].images
    assert "base64" in run.film(history.best)._repr_html_()


def test_what_images_do_not_have_is_said(tmp_path: Path) -> None:
    history = read_history(write_run(tmp_path, videos=False, steps=0))
    for figure in (run.errors(history), run.sheet(history.best), run.film(history.best)):
        assert figure.axes[0].texts
    assert not run.losses(history).axes


def test_the_newest_run_unless_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STMASK_RUN", raising=False)
    monkeypatch.delenv("STMASK_RUNS", raising=False)
    with pytest.raises(DataError, match="no run to look at: .* STMASK_RUN"):
        run.newest_run()
    folders = [write_run(tmp_path / name) for name in ("demo/run", "runs/a/seed_0", "runs/b/seed_0")]
    for age, place in zip((30, 10, 20), folders, strict=True):
        os.utime(place / "metrics.csv", (1e9 - age, 1e9 - age))
    assert run.newest_run() == folders[1]
    monkeypatch.setenv("STMASK_RUN", str(folders[2]))
    assert run.newest_run() == folders[2]
