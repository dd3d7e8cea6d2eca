import pytest

from stmask.commands.benchmark_data import main
from stmask.data.benchmark import STAGES, make_index, make_videos, measure_index, measure_loader


def test_the_stages_add_up_to_the_whole(tmp_path):
    make_videos(tmp_path, videos=1, frames=4, objects=2, height=96, width=160)
    speed = measure_loader(tmp_path, height=48, width=80, pairs=9)
    assert set(speed.stage_ms) == set(STAGES)
    assert min(speed.stage_ms.values()) >= 0
    assert sum(speed.stage_ms.values()) * speed.pairs_per_second == pytest.approx(1000)


def test_workers_share_an_index(tmp_path):
    path = tmp_path / "train.json"
    make_index(path, videos=200, frames=27, tracks=400, mask_bytes=400)
    cost = measure_index(path, cache=tmp_path / "cache", workers=2)
    assert cost.seconds > 0
    assert cost.worker_mb is None or max(cost.worker_mb) < 20


def test_the_command(capsys):
    assert main(["--pairs", "2"]) == 0
    assert "pairs/s and core" in capsys.readouterr().out
