from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from stmask.benchmarks.data import STAGES, Contender, make_index, make_videos, measure_index
from stmask.benchmarks.worker import Turns
from stmask.commands.benchmark_data import main


def test_the_stages_add_up_to_the_whole(tmp_path: Path) -> None:
    make_videos(tmp_path, videos=1, frames=4, objects=2, height=96, width=160)
    turns = Turns(io.StringIO("2\n1\n0\n"), io.StringIO())
    Contender(root=str(tmp_path), height=48, width=80).serve(turns)
    assert len(turns.samples) == 3
    for sample in turns.samples:
        assert set(sample.stages) == set(STAGES)
        assert min(sample.stages.values()) >= 0
        assert sum(sample.stages.values()) == pytest.approx(sample.milliseconds)


def test_workers_share_an_index(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    make_index(path, videos=200, frames=27, tracks=400, mask_bytes=400)
    cost = measure_index(path, cache=tmp_path / "cache", workers=2)
    assert cost.seconds > 0
    assert cost.worker_mb is None or max(cost.worker_mb) < 20


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "index.json"
    assert main(["--videos", "50", "--repeats", "1", "--workers", "0", "--json", str(written)]) == 0
    assert "50 videos, cached" in capsys.readouterr().out
    results = json.loads(written.read_text())["results"]
    assert [len(result["samples"]) for result in results] == [1, 1]
