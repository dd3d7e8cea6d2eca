"""Steps of a whole run, as `stmask train` makes them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from engine.tiny import TINY

from stmask.cli import main
from stmask.commands import benchmark_train


def test_steps_and_their_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark_train, "_VIDEOS", 1)
    written = tmp_path / "steps.json"
    words = " ".join(one for one in TINY if not one.startswith(("trainer.max_steps", "data.samples")))
    command = ["benchmark", "train", words, "--repeats", "3", "--json", str(written)]
    assert main(command) == 0
    assert "backward: the backward pass" in capsys.readouterr().out
    (result,) = json.loads(written.read_text())["results"]
    assert len(result["samples"]) == 3
    assert set(result["stages"]) == {"data and loop", "forward", "losses", "backward", "optimiser"}
    assert min(result["stages"].values()) > 0
    assert result["floor"]["flops"] > 1e6
    assert result["details"] == {"clips": 2, "frames of a clip": 2, "height": 64, "width": 96}
    assert main([*command[:3], "--repeats", "1", "--against", str(written)]) == 0
    assert "now / then" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=demo", "data.root=data"], "'experiment=demo data.root=data'"),
        (
            ["experiment=demo seed=1", "experiment=demo seed=2", "data.root=x"],
            "data.root=x is a configuration of its own",
        ),
    ],
)
def test_overrides_of_one_configuration_are_one_word(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "train", *words]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert said.count("\n") == 1


def test_a_run_that_is_too_short_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(benchmark_train, "_VIDEOS", 1)
    assert main(["benchmark", "train", " ".join(TINY), "--repeats", "30"]) == 2
    assert "raise trainer.max_steps" in capsys.readouterr().err
