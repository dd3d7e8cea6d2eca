"""`stmask tables --bootstrap` on stored results that are made up: nothing is trained or evaluated."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluation.builders import box, ground_truth, result_entry, truth_entry
from experiments.made_runs import write_run

from stmask.cli import main
from stmask.data.synthetic.bench import FACTOR_SETS, NAME, VERSION
from stmask.hub.cache import sha256_of
from stmask.runs.evaluations import EvaluationRecord

BENCH = ("recipe=tiny", "data.root=/videos/bench")
VIDEOS, LENGTH = 10, 2
BLUR = [name for name, (factor, _) in FACTOR_SETS.items() if factor == "blur"]
MASKS = [box(16, 16, 2, 2, 12, 12)] * LENGTH


@pytest.fixture
def truths(tmp_path: Path) -> dict[str, Path]:
    """Annotations of the validation set, and of each step of blur for its first five videos; one object a video."""
    files = {}
    for name in ("valid", *BLUR):
        count = VIDEOS if name == "valid" else VIDEOS // 2
        tracks = [truth_entry(video, video, 1, MASKS) for video in range(1, count + 1)]
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(json.dumps(ground_truth([(16, 16, LENGTH)] * count, tracks)))
    return files


def evaluate_run(run: Path, name: str, truth: Path, found: Sequence[int], **changes: Any) -> Path:
    """What `stmask evaluate split=bench` leaves: the objects of some videos are found, of the others nothing is."""
    folder = run / "bench" / name
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps([result_entry(video, 1, 0.9, MASKS) for video in found]))
    (folder / "metrics.json").write_text("{}")
    said: dict[str, Any] = {
        "checkpoint": str(run / "checkpoints" / "best.ckpt"), "checkpoint_sha256": "0" * 64, "split": name,
        "annotations": str(truth), "annotations_sha256": sha256_of(truth), "benchmark": NAME, "version": VERSION,
        "settings": {"model": {}, "data": {}}, **changes,
    }  # fmt: skip
    EvaluationRecord(**said).write(folder)
    return folder


def write_row(root: Path, truths: dict[str, Path], experiment: str, found: Sequence[int], **more: Any) -> list[Path]:
    """Runs of a row, seed s of which finds the objects of the first found[s] videos."""
    runs = []
    for seed, count in enumerate(found):
        run = write_run(
            root / experiment / f"seed_{seed}", experiment, overrides=more.get("overrides", BENCH), seed=seed
        )
        evaluate_run(run, "valid", truths["valid"], range(1, count + 1))
        runs.append(run)
    return runs


Tables = Callable[..., list[dict[str, str]]]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    def tables(*words: str) -> list[dict[str, str]]:
        assert main(["tables", *words, "--bootstrap", "--runs", str(tmp_path / "runs"), "--output", str(tmp_path)]) == 0
        return list(csv.DictReader((tmp_path / "synthetic" / "results.csv").read_text().splitlines()))

    return tables


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    def refused() -> str:
        words = ["tables", "table5", "--bootstrap", "--runs", str(tmp_path / "runs"), "--output", str(tmp_path)]
        assert main(words) == 2
        assert not (tmp_path / "synthetic").exists()
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    return refused


def test_differences_to_the_row_before_with_intervals(tmp_path: Path, truths: dict[str, Path], tables: Tables) -> None:
    write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4, 5, 6, 5, 4])
    write_row(tmp_path / "runs", truths, "table5/t5_fca", [6, 7, 8, 7, 6])
    lines = {line["row"]: line for line in tables("table5")}
    fca, baseline, tf = (lines[f"t5_{name}"] for name in ("fca", "baseline", "tf"))
    assert (fca["before"], fca["n"], fca["seeds"], fca["pairs"], fca["better"]) == (
        "t5_baseline", "5", "0 1 2 3 4", "5", "5",
    )  # fmt: skip
    assert float(fca["AP"]) == pytest.approx(68, abs=1)
    assert float(fca["difference"]) == pytest.approx(20, abs=1)
    # two of ten videos more with each seed, and with two seeds in common on the same videos: 0 to 4 of ten draws
    assert 0 <= float(fca["low"]) < float(fca["difference"]) < float(fca["high"]) <= 52
    assert (baseline["difference"], baseline["low"], tf["n"], tf["AP"]) == ("", "", "0", "")
    text = (tmp_path / "synthetic" / "table.md").read_text()
    assert f"version {VERSION}; setting: data.root=bench recipe=tiny" in text
    row = next(line for line in text.splitlines() if line.startswith("| `t5_fca`"))
    assert f"{float(fca['difference']):+.1f} [{float(fca['low']):+.1f}, {float(fca['high']):+.1f}]" in row
    assert " missing |" in next(line for line in text.splitlines() if line.startswith("| `t5_tf`"))


def test_by_factor_and_step_beside_the_same_videos_without_it(
    tmp_path: Path, truths: dict[str, Path], tables: Tables
) -> None:
    for experiment, more in (("table5/t5_baseline", 0), ("table5/t5_fca", 1)):
        for run in write_row(tmp_path / "runs", truths, experiment, [4] * 5):
            for step, name in enumerate(BLUR, start=1):
                evaluate_run(run, name, truths[name], range(1, 5 - step + more))
    lines = [line for line in tables("table5", "table4") if line["row"] == "t5_fca" and line["factor"]]
    assert [(line["split"], line["factor"], line["step"], line["videos"]) for line in lines] == [
        ("valid", "blur", "0", "5"), *((name, "blur", str(step), "5") for step, name in enumerate(BLUR, start=1)),
    ]  # fmt: skip
    assert [float(line["AP"]) for line in lines] == pytest.approx([80, 80, 60, 40], abs=1)
    assert [float(line["difference"]) for line in lines] == pytest.approx([0, 20, 20, 20], abs=1)
    assert [line["change"] for line in lines] == ["", *(line["difference"] for line in lines[1:])]
    # one of five videos more, which every third draw lacks: no more than can be chance
    assert [(line["low"], line["change_low"]) for line in lines[1:]] == [("0.0", "0.0")] * 3
    text = (tmp_path / "synthetic" / "table.md").read_text()
    assert "Differences with more of blur:" in text
    assert "t5_tf" not in text.split("more of blur:")[1]
    assert (tmp_path / "synthetic" / "table5.png").read_bytes()[1:4] == b"PNG"
    assert (tmp_path / "synthetic" / "table4.png").exists()  # of the rows that are the same networks


def test_the_same_runs_give_the_same_bytes(tmp_path: Path, truths: dict[str, Path], tables: Tables) -> None:
    for experiment in ("table5/t5_baseline", "table5/t5_fca"):
        for seed, run in enumerate(write_row(tmp_path / "runs", truths, experiment, [3, 5, 4, 6, 2])):
            evaluate_run(run, BLUR[0], truths[BLUR[0]], range(1, 2 + seed % 3))
    tables("table5")
    first = {path.name: path.read_bytes() for path in (tmp_path / "synthetic").iterdir()}
    tables("table5")
    assert {path.name: path.read_bytes() for path in (tmp_path / "synthetic").iterdir()} == first
    assert sorted(first) == ["results.csv", "table.md", "table5.png"]


def test_too_few_seeds_are_said(tmp_path: Path, truths: dict[str, Path], tables: Tables) -> None:
    write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4, 5, 6, 5])
    write_row(tmp_path / "runs", truths, "table5/t5_fca", [6, 7, 8, 7, 6])
    fca = next(line for line in tables("table5") if line["row"] == "t5_fca")
    assert (fca["n"], fca["pairs"], fca["low"], fca["high"]) == ("5", "4", "", "")
    assert "(4 seeds: too few)" in (tmp_path / "synthetic" / "table.md").read_text()


def test_runs_without_evaluation_and_of_several_versions_of_the_code_and_devices_are_said(
    tmp_path: Path, truths: dict[str, Path], tables: Tables
) -> None:
    runs = write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4, 5])
    made = json.loads((runs[0] / "run.json").read_text())
    git, machine = {"commit": "abcdef0123456", "dirty": True}, {"gpus": ["NVIDIA H100"]}
    (runs[0] / "run.json").write_text(json.dumps({**made, "git": git, "machine": machine}))
    config = runs[0] / "config.yaml"
    config.write_text(config.read_text().replace("accelerator: cpu", "accelerator: gpu"))
    write_run(tmp_path / "runs" / "new", "table5/t5_fca", overrides=BENCH)
    tables("table5")
    text = (tmp_path / "synthetic" / "table.md").read_text()
    assert "more than one version of the code: abcdef012 with changes (1), unknown code (1)." in text
    assert "on devices of more than one kind: NVIDIA H100 (1), a CPU (1)." in text
    assert "1 runs that are done were not evaluated" in text


def test_nothing_was_evaluated(tmp_path: Path, refused: Callable[[], str]) -> None:
    write_run(tmp_path / "runs" / "a", "table5/t5_fca", overrides=BENCH)
    assert "stmask evaluate checkpoint=RUN split=bench output=RUN/bench" in refused()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": VERSION + 1}, f"was measured on version {VERSION + 1} of the benchmark, and this is version "),
        ({"benchmark": None, "version": None}, "was not measured on the benchmark bench"),
        ({"annotations_sha256": "1" * 64}, "were measured with different annotations"),
        ({"settings": {"model": {"detector": {"score_threshold": 0.2}}}}, "with model settings other than the run's"),
    ],
)
def test_evaluations_that_cannot_be_compared(
    changes: dict[str, Any], message: str, tmp_path: Path, truths: dict[str, Path], refused: Callable[[], str]
) -> None:
    write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4, 5])
    run = write_run(tmp_path / "runs" / "other", "table5/t5_fca", overrides=BENCH)
    evaluate_run(run, "valid", truths["valid"], [1], **changes)
    assert message in refused()


def test_weights_that_were_replaced_after_the_evaluation(
    tmp_path: Path, truths: dict[str, Path], refused: Callable[[], str]
) -> None:
    run, *_ = write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4])
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.ckpt").write_bytes(b"others")
    assert "was measured with other weights than" in refused()


def test_training_on_another_version(tmp_path: Path, truths: dict[str, Path], refused: Callable[[], str]) -> None:
    run, *_ = write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4])
    made = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**made, "bench": VERSION + 1}))
    assert f"was trained on version {VERSION + 1} of the benchmark, and this is version {VERSION}" in refused()


def test_annotations_that_are_gone_or_changed(
    tmp_path: Path, truths: dict[str, Path], refused: Callable[[], str]
) -> None:
    write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4])
    truths["valid"].write_text(truths["valid"].read_text() + " ")
    assert "make the benchmark there again" in refused()


def test_settings_are_not_mixed(tmp_path: Path, truths: dict[str, Path], refused: Callable[[], str]) -> None:
    write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4])
    write_row(tmp_path / "runs", truths, "table5/t5_fca", [4], overrides=(*BENCH, "trainer.max_steps=100"))
    assert "runs of 2 settings can't stand in one table (data.root=bench recipe=tiny; data.root=bench" in refused()


def test_a_recipe_that_changed_under_its_name(
    tmp_path: Path, truths: dict[str, Path], refused: Callable[[], str]
) -> None:
    write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4])
    run, *_ = write_row(tmp_path / "runs", truths, "table5/t5_fca", [4])
    config = (run / "config.yaml").read_text()
    assert "max_steps: 200" in config
    (run / "config.yaml").write_text(config.replace("max_steps: 200", "max_steps: 300"))
    line = refused()
    assert "was trained with trainer.max_steps=200 and" in line
    assert "with trainer.max_steps=300: runs of different settings can't stand in one table" in line


@pytest.mark.parametrize("content", ["[1]", "{", '{"checkpoint": 1}', '{"settings": []}'])
def test_a_broken_record(content: str, tmp_path: Path, truths: dict[str, Path], refused: Callable[[], str]) -> None:
    run, *_ = write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4])
    (run / "bench" / "valid" / "evaluation.json").write_text(content)
    assert "bench/valid/evaluation.json" in refused()


def test_what_changes_is_bold(tmp_path: Path, truths: dict[str, Path], tables: Tables) -> None:
    for experiment, found in (("table5/t5_baseline", []), ("table5/t5_fca", range(1, 6))):
        for run in write_row(tmp_path / "runs", truths, experiment, [0] * 5):
            evaluate_run(run, BLUR[0], truths[BLUR[0]], found)
    tables("table5")
    row = next(line for line in (tmp_path / "synthetic" / "table.md").read_text().splitlines() if "**" in line)
    assert row.startswith("| `t5_fca`")
    assert "+0.0 [+0.0, +0.0] | **+100.0 [+100.0, +100.0]** |" in row


def test_results_of_other_videos(tmp_path: Path, truths: dict[str, Path], refused: Callable[[], str]) -> None:
    run, *_ = write_row(tmp_path / "runs", truths, "table5/t5_baseline", [4])
    (run / "bench" / "valid" / "results.json").write_text(json.dumps([result_entry(99, 1, 0.9, MASKS)]))
    assert "bench/valid/results.json: " in refused()
