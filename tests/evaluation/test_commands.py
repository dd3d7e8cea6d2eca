from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stmask.cli import main
from stmask.commands import benchmark, metric, submit
from stmask.errors import ConfigError, DataError
from stmask.evaluation import MASK_METRICS, GroundTruth, check_results, synthetic
from stmask.evaluation.synthetic import MetricCase, write_case

CASE = Path(__file__).parent / "data" / "case3_noisy"
FILES = [str(CASE / "gt.json"), str(CASE / "results.json")]
TINY = MetricCase(3, 4, 90, 120, categories=2, tracks=(1, 2), predictions=3, ragged=2)


def test_metric_prints_and_writes_the_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, table = tmp_path / "a" / "figures.json", tmp_path / "classes.csv"
    assert metric.main([*FILES, "--json", str(out), "--csv", str(table), "--per-class"]) == 0
    expected = json.loads((CASE / "expected.json").read_text())["stats"]
    metrics = json.loads(out.read_text())
    assert tuple(metrics) == MASK_METRICS
    assert list(metrics.values()) == pytest.approx(list(expected.values()), abs=1e-12)
    with table.open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["name"] for row in rows] == ["c1", "c2", "c3", "c4", "c5"]
    assert rows[4]["AP"] == ""
    assert sum(float(row["AP"]) for row in rows[:4]) / 4 == pytest.approx(metrics["AP"])
    printed = capsys.readouterr().out
    assert "AP50     21.6  IoU .50" in printed
    assert str(out) in printed


def test_metric_explains_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors, plots = tmp_path / "errors.json", tmp_path / "plots"
    options = ["--explain", "--frames", "--boundary", "--identities", "--errors", str(errors), "--plots", str(plots)]
    assert metric.main([*FILES, *options]) == 0
    assert sorted(path.name for path in plots.iterdir()) == ["errors.png", "precision_recall.png"]
    explanation = json.loads(errors.read_text())
    assert {error["kind"] for error in explanation["errors"]} == {"false positive", "missed track"}
    background = explanation["total"]["causes"]["background"]["false_positives"]
    assert background == sum(error["cause"] == "background" for error in explanation["errors"])
    printed = capsys.readouterr().out
    for expected in ("AP50 cost by class", "identity switch", "single frames", "boundaries", "fragments"):
        assert expected in printed


def test_metric_needs_no_torch() -> None:
    code = "import sys; from stmask.commands import metric; metric.main(sys.argv[1:]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *FILES], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_metric_refuses_an_unlabelled_file_before_it_reads_the_results(tmp_path: Path) -> None:
    content = json.loads((CASE / "gt.json").read_text())
    del content["annotations"]
    (tmp_path / "test.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"test\.json has no annotations"):
        metric.main([str(tmp_path / "test.json"), str(tmp_path / "missing.json")])


def test_submit_packs_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = str(tmp_path / "out.zip")
    assert submit.main([FILES[1], "--output", packed, "--ground-truth", FILES[0]]) == 0
    assert submit.main(["--check", packed]) == 0
    assert "is a valid submission:\n95 tracks with 425 masks in 18 videos" in capsys.readouterr().out


def test_the_benchmark_measures_each_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(synthetic, "CASES", {"tiny": TINY})  # without names, all cases
    assert benchmark.main(["metric", "--repeats", "2", "--json", str(tmp_path / "t.json")]) == 0
    (measured,) = json.loads((tmp_path / "t.json").read_text())["results"]
    assert measured["name"] == "tiny"
    assert sum(measured["stages"].values()) == pytest.approx(measured["milliseconds"]["median"], rel=0.5)
    assert "accumulation" in capsys.readouterr().out


def test_unknown_benchmarks_and_cases_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main([]) == 0
    assert "metric" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"no `stmask benchmark metrics`, there are .*metric"):
        benchmark.main(["metrics"])
    with pytest.raises(ConfigError, match="no case 'large'"):
        benchmark.main(["metric", "large"])


def test_synthetic_cases_are_sound_and_repeatable(tmp_path: Path) -> None:
    first, second = (write_case(TINY, tmp_path / name, seed=3) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    truth = GroundTruth.load(first[0])
    predictions = check_results(json.loads(first[1].read_text()), truth)
    assert len(predictions) >= 9
    assert truth.areas.tolist() == truth.mask_areas.means().tolist()


def test_the_metric_command_with_tracking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parent / "data" / "case3_noisy"
    files = [str(folder / "gt.json"), str(folder / "results.json")]
    assert main(["metric", *files, "--tracking", "--per-class", f"--json={tmp_path / 'a.json'}"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^ +HOTA +DetA +AssA +LocA +IDF1 ", shown, re.M)
    assert re.search(r"^class mean ", shown, re.M)
    written = json.loads((tmp_path / "a.json").read_text())
    expected = json.loads((folder.parent / "tracking" / "expected.json").read_text())["case3_noisy"]
    assert written["tracking"]["all"] == pytest.approx(expected["all"], abs=1e-9)
    assert main(["metric", *files, "--tracking", "--min-score=2"]) == 0
    assert "warning: no score reaches --min-score 2, the best" in capsys.readouterr().err
    for wrong in ("nan", "inf", "x"):
        assert main(["metric", *files, "--tracking", f"--min-score={wrong}"]) == 2
        assert f"argument --min-score: must be a finite number, got '{wrong}'" in capsys.readouterr().err
