"""W&B's own agent runs experiments/wandb_sweep.yaml: its commands, its environment; only its server is not there."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine.offline_wandb import read_offline
from engine.tiny import TINY

import stmask.cli
from stmask.config import compose
from stmask.files import read_json

EXAMPLE = Path(stmask.cli.__file__).parents[1] / "experiments" / "wandb_sweep.yaml"


def value_of(parameter: dict[str, Any]) -> Any:
    return parameter["values"][-1] if "values" in parameter else parameter["min"]


def test_every_value_of_the_example_composes() -> None:
    sweep = yaml.safe_load(EXAMPLE.read_text())
    given = [f"{key}={value_of(parameter)}" for key, parameter in sweep["parameters"].items()]
    cfg = compose("train", ["experiment=demo", "logger=wandb", *given])
    assert sweep["metric"]["name"] == cfg.monitor
    assert cfg.optimizer.lr == 1e-4
    assert cfg.model.tracker == compose("train", ["model/tracker=iou"]).model.tracker


@pytest.mark.parametrize(
    ("word", "value"), [("total_batch=None", None), ("deterministic=True", True), ("tags=['a']", ["a"])]
)
def test_what_an_agent_writes_is_read(word: str, value: Any) -> None:
    assert compose("train", [word])[word.partition("=")[0]] == value


@pytest.mark.slow
@pytest.mark.skipif(not EXAMPLE.is_file(), reason="needs a checkout")
def test_the_agent_s_runs_train_and_go_on(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run, and the same one again as an agent takes it up: one folder, one W&B run, two attempts."""
    from wandb import wandb_agent
    from wandb.apis.public import sweeps

    sweep = yaml.safe_load(EXAMPLE.read_text())
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_MODE", "offline")  # there is no server
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")  # as run_agent does, and the project, for `wandb agent us/stmask/s1`
    monkeypatch.setenv("WANDB_PROJECT", sweep["project"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, (str(EXAMPLE.parents[1]), os.environ.get("PYTHONPATH"))))
    )
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/synthetic").symlink_to(dataset)

    words = sweep["command"]
    words[words.index("stmask") : words.index("stmask") + 1] = [sys.executable, "-m", "stmask"]
    words[words.index("experiment=demo") : words.index("experiment=demo") + 1] = [*TINY, "records=none"]
    arguments = {key: {"value": value_of(parameter)} for key, parameter in sweep["parameters"].items()}
    arguments["model/tracker"] = {"value": "stmask"}
    commands = [
        {"id": str(number), "type": kind, "run_id": "r1", "program": "stmask", "args": arguments}
        for number, kind in enumerate(["run", "resume"])
    ]
    ended: list[dict[str, bool]] = []

    def heartbeat(api: object, agent: str, metrics: object, running: dict[str, bool]) -> list[dict[str, Any]]:
        ended.append(running)
        return [commands.pop(0)] if commands and not running else []

    monkeypatch.setattr(sweeps, "_sweep_with_runs", lambda *_: {"config": json.dumps(sweep)})
    monkeypatch.setattr(sweeps, "_register_agent", lambda *_, **__: {"id": "agent"})
    monkeypatch.setattr(sweeps, "_agent_heartbeat", heartbeat)
    monkeypatch.setattr(wandb_agent.wandb, "Api", lambda: None)
    monkeypatch.setattr(wandb_agent.wandb, "teardown", lambda *_: None)
    monkeypatch.setattr(wandb_agent.Agent, "POLL_INTERVAL", 0.2)
    agent = wandb_agent.Agent(None, multiprocessing.Queue(), sweep_id="s1", count=2)
    agent.run()
    assert (agent._finished, agent._failed) == (2, 0)
    run = Path("runs/wandb/s1/r1")
    status = read_json(run / "status.json")
    assert (status["state"], status["attempts"], status["step"]) == ("done", 2, 4)
    found = read_offline(tmp_path)  # W&B's files lie where the agent works
    assert (found.run_id, found.project, len(found.folders)) == ("r1", "stmask", 2)
    assert found.config["optimizer"]["lr"] == found.config["optimizer.lr"] == 1e-4


@pytest.mark.parametrize(("variable", "code"), [("WANDB_SWEEP_ID", -15), ("WANDB_NONE", 143)])
def test_a_run_that_an_agent_stops_has_not_failed(variable: str, code: int) -> None:
    """Agents count statuses above 0 as failures, and give up a sweep after five."""
    import subprocess

    say = (
        "import sys, stmask.cli; from stmask.errors import Interrupted\n"
        "def stopped(arguments): raise Interrupted(143)\n"
        "stmask.cli._dispatch = stopped; sys.argv = ['stmask', 'tables']; sys.exit(stmask.cli.main())"
    )
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_SWEEP_ID"}
    ran = subprocess.run(
        [sys.executable, "-c", say], env={**environment, variable: "s1"}, capture_output=True, check=False
    )
    assert ran.returncode == code, ran.stderr
