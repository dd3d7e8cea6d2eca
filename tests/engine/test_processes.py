"""A training of two processes, started by Lightning as a user starts it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from engine.runs import LONG, content

from stmask.engine.rendezvous import arrive, reach_first_process, wait_for_nodes
from stmask.errors import StmaskError
from stmask.runs.folder import status_of

TESTS = Path(__file__).parents[1]


def launch(dataset: Path, output: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    words = [
        *(sys.executable, "-m", "stmask", "train", *LONG),
        *("trainer.devices=2", "trainer.strategy=ddp", "total_batch=4", "data.num_workers=1"),
        *("+records._target_=engine.probes.Probe", f"+records.folder={output}"),
        *(f"data.root={dataset}", f"output_dir={output}", *overrides),
    ]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=180, check=False)


@pytest.mark.slow
def test_two_processes_stop_and_go_on_together(dataset: Path, tmp_path: Path) -> None:
    """The signal comes to the second alone."""
    run = tmp_path / "run"
    ran = launch(dataset, run, "+records.stop_rank=1", "+records.stop_step=4")
    assert ran.returncode == 143, ran.stderr
    ends = [(run / f"rank_{rank}.txt").read_text().split() for rank in range(2)]
    assert ends[0] == ends[1]
    status = status_of(run)
    assert (status.state, status.step) == ("interrupted", int(ends[0][0]))
    assert content(run)["global_step"] == 4
    ran = launch(dataset, run, "resume=auto")
    assert ran.returncode == 0, ran.stderr
    ends = [(run / f"rank_{rank}.txt").read_text().split() for rank in range(2)]
    assert ends[0] == ends[1]
    assert ends[0][0] == "12"
    assert status_of(run).state == "done"
    summary = json.loads((run / "summary.json").read_text())
    assert "valid/AP" in summary
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_first_process_is_waited_for_and_its_address_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reach_first_process("127.0.0.1", port, rank=1, within=0.0)
    with pytest.raises(StmaskError) as caught:
        reach_first_process("127.0.0.1", port, rank=1, within=0.3)
    assert str(caught.value).startswith(
        f"process 1 does not reach the first one at 127.0.0.1:{port} (Connection refused), tried for 0 s: is it running"
    )
    with pytest.raises(StmaskError, match="at no-such-host.invalid:1234 "):
        reach_first_process("no-such-host.invalid", 1234, rank=1, within=0.0)


def test_the_first_process_says_who_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StmaskError, match=f"process 0 can't listen at 127.0.0.1:{port} .*MASTER_PORT choose"):
            wait_for_nodes("127.0.0.1", port, nodes=2)
    with pytest.raises(StmaskError, match=f"nodes 1, 2 of the run's 3 did not come to 127.0.0.1:{port} within 0 min"):
        wait_for_nodes("127.0.0.1", port, nodes=3, within=0.0)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(wait_for_nodes, "127.0.0.1", port, nodes=3, every=0.1)
        reach_first_process("127.0.0.1", port, rank=4)
        arrive("127.0.0.1", port, node=2)
        while f"waiting for node 1 of 3 (from 0) at 127.0.0.1:{port}" not in caplog.text:
            assert not first.done()
        arrive("127.0.0.1", port, node=1)
        first.result(timeout=10)
