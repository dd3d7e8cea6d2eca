"""Runs of W&B's server as records, from a server that is made up."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from experiments.made_runs import write_run
from wandb.errors import AuthenticationError, CommError, UsageError

from stmask.cli import main
from stmask.errors import ConfigError, DataError, StmaskError
from stmask.experiments import wandb_runs
from stmask.experiments.collect import collect
from stmask.experiments.wandb_runs import collect_project


class Summary:
    """As W&B's: a mapping without being one."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def items(self) -> Any:
        return self._values.items()


@dataclass
class Run:
    config: dict[str, Any]
    summary: Any = field(default_factory=lambda: Summary({}))
    id: str = "abc"
    state: str = "finished"
    created_at: str = "2026-02-01T00:00:00"


@dataclass
class Api:
    answer: Any

    def runs(self, project: str) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return iter(self.answer)


def logged(folder: Path, **changes: Any) -> Run:
    """What a run's folder holds, as W&B gives it back."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    made = json.loads((folder / "run.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    return Run({**config, "run": made}, Summary({**summary, "train/loss": 1.0, "_wandb": {"runtime": 5}}), **changes)


def test_a_run_says_the_same_there_as_its_folder(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "a", ap=0.2)
    (here,), _ = collect([tmp_path])
    (there,), problems = collect_project("team/vis", Api([logged(run)]))
    assert problems == []
    assert (there.name, there.folder, there.done) == ("team/vis/abc", None, True)
    for name in ("experiment", "setting", "configuration", "seed", "dataset", "metrics", "train_seconds", "parameters"):
        assert getattr(there, name) == getattr(here, name), name


def test_what_did_not_finish_or_is_not_ours_does_not_count(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    states = {"crashed": "cut off", "killed": "interrupted", "failed": "failed", "running": "running"}
    runs = [logged(run, id=state, state=state) for state in states]
    foreign = Run({"lr": 0.1})
    broken = logged(run, id="broken")
    del broken.config["data"]
    records, problems = collect_project("team/vis", Api([*runs, foreign, broken]))
    assert [record.state for record in records] == list(states.values())
    assert len(problems) == 1
    assert "team/vis/broken" in problems[0]


def test_tables_take_what_no_folder_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    here = logged(write_run(runs / "a", seed=0, ap=0.2), id="copy")
    here.summary._values["valid/AP"] = 0.9
    elsewhere = logged(write_run(tmp_path / "gone" / "b", seed=1, ap=0.3), id="else")
    monkeypatch.setattr(wandb_runs, "_connect", lambda: Api([here, elsewhere]))
    arguments = ["table4", "--runs", str(runs), "--wandb", "team/vis", "--output", str(tmp_path / "out")]
    assert main(["tables", *arguments]) == 0
    lines = csv.DictReader((tmp_path / "out" / "table4" / "results.csv").read_text().splitlines())
    (line,) = (line for line in lines if line["n"] != "0")
    assert (line["seeds"], line["AP"], line["runs"]) == ("0 1", "25.0", "runs/a team/vis/else")


@pytest.mark.parametrize(
    ("raised", "error", "message"),
    [
        (UsageError("No API key configured. Use ..."), ConfigError, "No API key configured. .*wandb login"),
        (AuthenticationError("Failed to verify\nmore"), ConfigError, "Failed to verify; more.*valid WANDB_API_KEY"),
        (ValueError("Could not find project team/vis"), ConfigError, "runs of 'team/vis' .*check --wandb"),
        (CommError("project not found"), ConfigError, "runs of 'team/vis' .*check --wandb"),
        (CommError("timed out"), DataError, r"can't be reached \(timed out\): leave out --wandb"),
        (ConnectionError("refused"), DataError, "can't be reached"),
    ],
)
def test_what_the_server_says_is_one_line(raised: Exception, error: type[StmaskError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        collect_project("team/vis", Api(raised))
    assert "\n" not in str(caught.value)


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        collect_project("team/vis", Api(KeyError("oops")))
