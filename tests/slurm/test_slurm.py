"""Sweeps and runs on a real SLURM of two nodes, both on this machine (tools/slurm_local.sh)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine.tiny import TINY

import stmask.cli
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.files import read_json
from stmask.runs.folder import status_of

ROOT = Path(stmask.cli.__file__).parents[1]
TOOL = ROOT / "tools" / "slurm_local.sh"
LAUNCHER = ["hydra/launcher=slurm", f"hydra.launcher.cpus_per_task={os.cpu_count()}", "hydra.launcher.timeout_min=5"]
LONG = ["trainer.max_steps=200", "data.samples_per_epoch=100", "checkpoint_every=2", "data.valid=null"]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(not TOOL.is_file(), reason="needs a checkout"),
    pytest.mark.xdist_group("slurm"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SyntheticConfig.preset("easy", height=64, width=96, frames=4)
    return write_dataset(tmp_path_factory.mktemp("slurm") / "synthetic", config, videos=4, valid_videos=2)


def hurry(configuration: str, over: threading.Event) -> None:
    """SLURM waits for two minutes before it starts a requeued job."""
    environment = {**os.environ, "SLURM_CONF": configuration}
    while not over.wait(1):
        command = ["squeue", "--noheader", "--states=PENDING", "--format=%i"]
        for job in subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.split():
            update = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
            subprocess.run(update, env=environment, capture_output=True, check=False)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The path of slurm.conf."""
    folder, over = tmp_path_factory.mktemp("cluster"), threading.Event()
    started = subprocess.run([TOOL, "start", folder], capture_output=True, text=True, check=False)
    try:
        if started.returncode:
            pytest.skip(f"no SLURM on this machine: {started.stderr.strip()}")
        configuration = started.stdout.strip().partition("=")[2]
        threading.Thread(target=hurry, args=(configuration, over), daemon=True).start()
        yield configuration
    finally:
        over.set()
        subprocess.run([TOOL, "stop", folder], check=False)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_CONF", cluster)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))


def sweep(root: object, *overrides: str) -> int:
    given = [*TINY, "records=none", "deterministic=true", *LAUNCHER, f"data.root={root}"]
    return stmask.cli.main(["train", "-m", *given, *overrides])


def runs() -> list[Path]:
    return sorted(path.parent for path in Path("runs/sweeps").glob("*/seed_*/job.json"))


def test_a_sweep_runs_on_both_nodes_and_tells_what_happened(dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also of a job that fails; without accounting, and without GPUs, of which nothing needs to be said."""
    later = dataset.with_name("later")
    assert sweep(f"{dataset},{later}", "seed=0,1") == 2
    said = capfd.readouterr()
    print(said.out, said.err)
    rows = [line.split() for line in said.out.splitlines() if re.match("done|failed", line)]
    assert sorted(row[0] for row in rows) == ["done", "done", "failed", "failed"]
    assert {row[3] for row in rows} == {"stmask1", "stmask2"}
    assert {row[4] for row in rows} == {"1"}  # attempts
    assert f"no dataset folder {later}" in said.out
    assert "2 of 4 jobs are not done" in said.err
    assert "sacct" not in said.err
    assert sorted(status_of(run).state for run in runs()) == ["done", "done", "failed", "failed"]


def test_what_cannot_work_is_told_before_anything_is_sent(dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert sweep(dataset, "scheduler.warmup_steps=1,9", "seed=0") == 2
    assert "trainer.max_steps=4 is not above scheduler.warmup_steps=9" in capfd.readouterr().err
    assert sweep(dataset, "seed=0", "hydra.launcher.partition=none") == 2
    assert "stmask: error: SLURM takes no job" in capfd.readouterr().err
    assert not [run for run in runs() if status_of(run).attempts]


def test_a_job_that_is_preempted_goes_on(dataset: Path) -> None:
    def requeue() -> None:
        while not list(Path("runs").rglob("last.ckpt")):
            time.sleep(0.1)
        (run,) = runs()
        subprocess.run(["scontrol", "requeue", read_json(run / "slurm.json")["job"]], check=True)

    thread = threading.Thread(target=requeue, daemon=True)
    thread.start()
    assert sweep(dataset, *LONG, "seed=0") == 0
    thread.join()
    (run,) = runs()
    status = status_of(run)
    assert (status.state, status.attempts, status.step) == ("done", 2, 200)


SLOW = """
import time
from pathlib import Path
from pytorch_lightning.callbacks import Callback

class Slow(Callback):
    def on_train_batch_end(self, *args):
        if not Path("go").exists():
            time.sleep(0.5)
"""


def test_a_time_limit_ends_a_job_that_then_goes_on(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit becomes the next whole minute once there is a checkpoint; the second attempt has the old one."""

    Path("mine/callbacks").mkdir(parents=True)
    Path("mine/callbacks/slow.yaml").write_text("# @package callbacks.slow\n_target_: slow_steps.Slow\n")
    Path("slow_steps.py").write_text(SLOW)  # SLURM looks every half minute, and the run must not be done before
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}:{Path.cwd()}")

    def squeue(what: str) -> str:
        command = ["squeue", "--noheader", f"--format={what}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def limit() -> None:
        while not list(Path("runs").rglob("last.ckpt")):
            time.sleep(0.1)
        job, (minutes, _) = squeue("%i"), squeue("%M").split(":")
        subprocess.run(["scontrol", "update", f"JobId={job}", f"TimeLimit={int(minutes) + 1}"], check=True)
        while squeue("%T") == "RUNNING":
            time.sleep(0.1)
        Path("go").touch()
        while subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=9"], check=False).returncode:
            time.sleep(0.5)

    thread = threading.Thread(target=limit, daemon=True)
    thread.start()
    signal_delay = "hydra.launcher.signal_delay_s=60"  # within the last minute: at once
    assert sweep(dataset, *LONG, signal_delay, "seed=0", "callbacks=slow", "--config-dir", "mine") == 0
    thread.join()
    (run,) = runs()
    status = status_of(run)
    assert (status.state, status.attempts, status.step) == ("done", 2, 200)


def test_a_run_has_two_nodes_by_srun(dataset: Path, cluster: str) -> None:
    words = [*TINY, f"data.root={dataset}", "output_dir=run", "trainer.num_nodes=2", "trainer.strategy=ddp",
             "records=none"]  # fmt: skip
    command = ["srun", "--nodes=2", "--ntasks-per-node=1", sys.executable, "-m", "stmask", "train", *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert ran.returncode == 0, ran.stderr
    assert status_of("run").state == "done"
    assert ran.stderr.count("trained in") == 1
