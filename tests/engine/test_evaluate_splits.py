"""`stmask evaluate split=bench`: all sets with one load of the weights, one table, going on where it stopped."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from engine.tiny import TINY

from stmask.cli import main
from stmask.data.synthetic import bench, write_bench
from stmask.engine import evaluate as module
from stmask.engine.evaluate_splits import split_names
from stmask.errors import ConfigError, DataError
from stmask.runs.evaluations import read_evaluations

FEW = ["model.detector.score_threshold=0.2"]  # detections, to be quick


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bench(tmp_path_factory.mktemp("data") / "bench", videos=2, valid_videos=2, factor_videos=1)


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    words = [
        *TINY,
        f"data.root={root}",
        f"output_dir={output}",
        "trainer.max_steps=2",
        "data.valid=null",
        "records=none",
    ]
    assert main(["train", *words]) == 0
    return output


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def refused(*words: str) -> str:
        assert main(["evaluate", *words]) == 2
        lines = capsys.readouterr().err.splitlines()
        return lines[-1]

    return refused


def table(output: Path) -> list[dict[str, str]]:
    with (output / "splits.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def perfect_results(annotations: Path, *, video: int) -> list[dict[str, object]]:
    tracks = [track for track in json.loads(annotations.read_text())["annotations"] if track["video_id"] == video]
    return [
        {**{key: track[key] for key in ("video_id", "category_id", "segmentations")}, "score": 1.0} for track in tracks
    ]


def test_all_sets_in_one_table_and_again_what_is_missing(
    run: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, evaluated = [], []
    load, run_all = module.load_segmenter, module.run_all
    monkeypatch.setattr(module, "load_segmenter", lambda *a, **k: loads.append(1) or load(*a, **k))
    monkeypatch.setattr(module, "run_all", lambda *a, **k: evaluated.append(1) or run_all(*a, **k))
    words = ["evaluate", f"checkpoint={run}", "split=bench", f"output={tmp_path}", *FEW]
    assert main(words) == 0
    assert (len(loads), len(evaluated)) == (1, 22)
    printed = capsys.readouterr().out
    rows = table(tmp_path)
    assert [row["split"] for row in rows] == ["valid", *bench.FACTOR_SETS]
    assert all(row["split"] in printed and row["version"] == str(bench.VERSION) for row in rows)
    assert [(row["factor"], row["step"], row["videos"]) for row in rows[:2]] == [("", "", "2"), ("occlusion", "1", "1")]
    for row in rows[1:]:
        assert float(row["AP_difference"]) == pytest.approx(float(row["AP"]) - float(row["base_AP"]))
        assert float(row["AP"]) == json.loads((tmp_path / row["split"] / "metrics.json").read_text())["AP"]

    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    shutil.rmtree(tmp_path / "valid_blur_2")
    (tmp_path / "valid_speed_1" / "evaluation.json").unlink()  # as if it had been stopped there
    evaluated.clear()
    assert main(words) == 0
    assert len(evaluated) == 2
    after = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    timed = ("videos.csv", "metrics.json", "splits.csv")
    assert after.keys() == before.keys()
    assert all(after[path] == before[path] for path in before if path.name not in timed)

    perfect = perfect_results(root / "valid.json", video=1)
    (tmp_path / "valid" / "results.json").write_text(json.dumps(perfect))
    assert main(words) == 0  # the same videos of `valid` are the first one alone, which is all right now
    assert all(float(row["base_AP"]) == 1 for row in table(tmp_path)[1:])
    assert all(float(row["AP_difference"]) == float(row["AP"]) - 1 for row in table(tmp_path)[1:])

    evaluated.clear()  # other settings are another evaluation, although the folder has results
    assert main([*words[:2], "split=valid,valid_blur_1", words[3], "model.detector.score_threshold=0.5"]) == 0
    assert len(evaluated) == 2
    assert [row["split"] for row in table(tmp_path)] == ["valid", "valid_blur_1"]
    assert "valid, valid_blur_1: made anew" in capsys.readouterr().err
    found = read_evaluations(tmp_path)
    assert found["valid"][1].settings["model"] == {"detector": {"score_threshold": 0.5}}
    assert found["valid_blur_2"][1].settings["model"] == {"detector": {"score_threshold": 0.2}}
    assert found["valid"][1].checkpoint_sha256 == found["valid_blur_2"][1].checkpoint_sha256
    assert Path(found["valid"][1].annotations) == root / "valid.json"


def edited(root: Path, copy: Path, split: str, **info: object) -> Path:
    shutil.copytree(root, copy)
    path = copy / f"{split}.json"
    content = json.loads(path.read_text())
    content["info"] |= info
    path.write_text(json.dumps(content))
    return copy


def test_another_version_is_refused(run: Path, root: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    other = edited(root, tmp_path / "other", "valid_scale_2", version=bench.VERSION + 1)
    message = refused(f"checkpoint={run}", "split=bench", f"data.root={other}", f"output={tmp_path / 'out'}")
    assert "valid_scale_2.json is of version 2" in message
    assert "has version 1" in message
    assert not list((tmp_path / "out").glob("*"))


def test_a_run_that_was_trained_on_another_version_is_refused(
    run: Path, root: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    made = json.loads((run / "run.json").read_text())
    assert made["bench"] == bench.VERSION
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "run.json").write_text(json.dumps({**made, "bench": bench.VERSION + 1}))
    message = refused(f"checkpoint={copy}", "split=bench", f"output={tmp_path / 'out'}")
    assert "was trained on version 2 of the benchmark bench" in message


def test_another_version_is_told_of_a_single_split(
    run: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = edited(root, tmp_path / "other", "valid_scale_2", version=bench.VERSION + 1)
    words = [f"checkpoint={run}", "split=valid_scale_2", f"data.root={other}", f"output={tmp_path / 'out'}"]
    assert main(["evaluate", *words]) == 0
    assert "is of version 2 of the benchmark bench" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["version"] == 2


@pytest.mark.parametrize("info", [{"version": "1"}, {"version": None}, {"benchmark": "mine"}, {"factor": "blur"}])
def test_a_file_that_is_something_else_is_refused(info: dict[str, object], root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"valid_scale_2\.json"):
        bench.require_bench(edited(root, tmp_path / "other", "valid_scale_2", **info))


def test_a_root_without_the_sets(
    run: Path, root: Path, dataset: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    place = f"output={tmp_path / 'out'}"
    message = refused(f"checkpoint={run}", "split=bench", f"data.root={dataset}", place)
    assert "does not hold the benchmark bench: it lacks valid_occlusion_1.json and 20 more" in message
    assert "--preset bench" in message
    message = refused(f"checkpoint={run}", "split=valid,valid_blurr_1", place)
    assert "valid_blurr_1" in message
    assert "valid_blur_1" in message.replace("valid_blurr_1", "")
    message = refused(
        f"checkpoint={run}", "split=bench", f"data.valid_annotations={root}/valid.json", f"data.root={root}", place
    )
    assert "data.valid_annotations" in message


@pytest.mark.parametrize(
    ("said", "names"),
    [(None, None), ("valid", None), ("bench", 22), ("a,b", ["a", "b"]), ("a, b", ["a", "b"])],
)
def test_names_of_splits(said: str | None, names: list[str] | int | None) -> None:
    found = split_names(said)
    assert (len(found or ()) if isinstance(names, int) else found) == names


@pytest.mark.parametrize("said", ["a,", ",", "a,a"])
def test_wrong_names_of_splits(said: str) -> None:
    with pytest.raises(ConfigError, match="different names"):
        split_names(said)
