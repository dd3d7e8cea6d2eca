"""Contenders are processes: they take turns, and what goes wrong in one is said here."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from stmask.benchmarks.gauge import PlainGauge
from stmask.benchmarks.turns import HERE, Entry, measure
from stmask.benchmarks.worker import Sample, Turns
from stmask.cli import main
from stmask.errors import ConfigError, StmaskError

SMALL = {"shape": [1, 2, 4, 5], "size": 3, "device": "cpu"}


def test_another_checkout_is_measured_by_turns(tmp_path: Path) -> None:
    ticks: list[int] = []
    entries = [Entry("maps", {"backend": "torch", **SMALL})]
    report = measure("correlation", entries, repeats=30, beside=HERE, on_turn=lambda: ticks.append(1))
    assert len(ticks) == 4  # 25 and 5 calls, each in two processes
    assert [result.name for result in report.results] == ["maps", "maps"]
    for result in report.results:
        assert len(result.samples) == 30
        assert set(result.stages) == {"forward", "backward"}
        assert result.memory["peak"] >= result.memory["start"] > 0
        assert result.floor.flops == 3 * 2 * 2 * 9 * 4 * 5
        assert result.floor.milliseconds is not None
    report.write(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["unit"] == "call"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"backend": "cuda", **SMALL}, ConfigError, "correlation backend must be one of torch, sampler, got 'cuda'"),
        ({"backend": "torch"}, StmaskError, "the process that measures x ended: TypeError: .* missing 3 required"),
    ],
)
def test_what_goes_wrong_in_a_contender_is_said(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        measure("correlation", [Entry("x", arguments)], repeats=1)


def test_a_turn_is_so_many_units_of_work() -> None:
    answers = io.StringIO()
    turns = Turns(io.StringIO("2\n1\n0\n"), answers)
    turns.ready(PlainGauge(), seconds=0.5)
    counts = []
    for count in turns:
        counts.append(count)
        turns.give([Sample(1.0, {})] * count)
    assert counts == [2, 1]
    assert len(turns.samples) == 3
    assert [json.loads(line) for line in answers.getvalue().splitlines()] == [{"seconds": 0.5}, {}, {}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["correlation", "--repeats", "0"], "--repeats must be at least 1, got 0"),
        (["correlation", "--beside", "."], "--beside . is not a checkout with stmask/benchmarks in it"),
        (["correlation", "--against", "none.json"], "none.json"),
        (["train", "experiment=dmo"], "no option 'dmo' in group 'experiment'"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
