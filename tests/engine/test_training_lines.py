from __future__ import annotations

import re
from pathlib import Path

import pytest
from engine.runs import fit

from stmask import progress


@pytest.mark.slow
def test_a_run_without_a_terminal_says_how_far_it_is(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(progress, "EVERY", 0.0)
    fit(dataset, tmp_path, "trainer.max_steps=3", "data.samples_per_epoch=6", "trainer.enable_progress_bar=true")
    lines = [line for line in caplog.messages if re.match("training|validating", line)]
    assert [line.split(",")[0] for line in lines] == [
        "training: 1 of 3 steps",
        "training: 2 of 3 steps",
        "training: 3 of 3 steps",
        "validating: 1 videos or images",
        "validating: 2 videos or images",
    ]
    assert re.fullmatch(r"training: 2 of 3 steps, loss \d+\.\d+, about a minute left", lines[1])
    assert lines[1] in (tmp_path / "train.log").read_text()
