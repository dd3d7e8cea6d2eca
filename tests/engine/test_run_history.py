from __future__ import annotations

import os
from pathlib import Path

import pytest

from stmask.errors import DataError
from stmask.files import write_json
from stmask.runs.history import read_history


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a run that was killed in its fourth step left, two validations behind it."""
    (tmp_path / "config.yaml").write_text("name: mine\nseed: 7\nmonitor: valid/AP50\n")
    (tmp_path / "metrics.csv").write_text(
        "step,epoch,train/loss,valid/AP\n0,0,4.5,\n1,0,,0.25\n2,1,2.5,\n3,1,2.0,0"  # not whole
    )
    (tmp_path / "performance.csv").write_text("step,performance/step_seconds,performance/gpu_memory_gib\n1,0.5,\n")
    for step, ap50 in ((2, 0.5), (4, 0.25)):
        record = tmp_path / "validation" / f"step_{step:08d}"
        figures = {"valid/AP": 0.2, "valid/AP50": ap50, "valid/APL": -1.0, "valid/explain/cost/missed": 0.1}
        write_json(record / "figures.json", {"step": step, **figures})
        (record / "classes.csv").write_text(
            "category_id,name,tracks,predictions,AP,AP50\n7,cat,3,5,0.2,\n9,dog,0,1,,\n"
        )
    (tmp_path / "validation" / "step_00000002" / "clips.png").write_bytes(b"")
    return tmp_path


def test_series_by_name_after_so_many_steps(folder: Path) -> None:
    history = read_history(folder)
    loss = history.series["train/loss"]
    assert (loss.steps.tolist(), loss.values.tolist()) == ([1, 3], [4.5, 2.5])
    assert history.series["valid/AP"].steps.tolist() == [2]
    assert history.starting_with("performance/").keys() == {"step_seconds"}


def test_validations_with_what_is_defined(folder: Path) -> None:
    history = read_history(folder)
    assert [validation.step for validation in history.validations] == [2, 4]
    best = history.best  # by what the run was to be judged by
    assert best.step == 2
    assert best.metrics == {"AP": 0.2, "AP50": 0.5, "explain/cost/missed": 0.1}
    cat, dog = best.classes
    assert (cat.name, cat.tracks, cat.predictions, cat.metrics) == ("cat", 3, 5, {"AP": 0.2})
    assert dog.metrics == {}
    assert best.sheet == best.folder / "clips.png"
    assert best.film is None


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    history = read_history(tmp_path)
    assert not history.series
    assert not history.summary
    assert history.status.state == "new"
    with pytest.raises(DataError, match="no record of a validation yet"):
        history.best  # noqa: B018


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not the folder of a run: it has no config.yaml"):
        read_history(tmp_path / "nothing")


def test_a_record_without_its_classes_is_named(folder: Path) -> None:
    (folder / "validation" / "step_00000004" / "classes.csv").unlink()
    with pytest.raises(DataError, match="cannot read .*step_00000004/classes.csv"):
        read_history(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *(
            ("metrics.csv", "step,loss\n" + row)
            for row in ("x,1\n", "1,x\n", "1,2,3\n", "1.5,1\n", "1," + "9" * 200_000 + "\n")
        ),
        ("metrics.csv", "a,b\n1,2\n"),
        *(
            ("validation/step_00000004/figures.json", text)
            for text in ("[1]", '{"valid/AP":"x"}', '{"a":1' + "0" * 400 + "}")
        ),
        ("validation/step_00000004/classes.csv", "a,b\n1,2\n"),
        *((name, "[]") for name in ("run.json", "summary.json", "config.yaml")),
        *((name, None) for name in ("run.json", "metrics.csv", "config.yaml")),
    ],
)
def test_what_no_run_writes_is_named(file: str, content: str | None, folder: Path) -> None:
    (folder / file).unlink(missing_ok=True)
    if content is None:
        os.mkfifo(folder / file)  # nobody writes into it: opened, it would wait for ever
    else:
        (folder / file).write_text(content)
    with pytest.raises(DataError, match=Path(file).name):
        read_history(folder)
