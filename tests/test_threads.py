"""How many threads a process computes with, read from made /proc and /sys, and what is left as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stmask import threads
from stmask.runs.provenance import threads_beside
from stmask.threads import Counters, Machine, shared_by, threads_beside_others, users_choice, waiting

TICKS = os.sysconf("SC_CLK_TCK")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}


def machine(cores: int, quota: float | None = None) -> Machine:
    return Machine(frozenset(range(cores)), cores, quota)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("cores", "quota", "busy", "expected"),
    [
        (2, None, 0.0, 2),
        (2, None, 0.4, 2),  # something short
        (2, None, 1.0, 1),
        (2, None, 2.0, 1),
        (1, None, 5.0, 1),
        (16, None, 1.2, 15),
        (16, None, 16.0, 8),  # our share of the cores
        (16, 4.0, 3.0, 4),  # enough are free for all that the quota allows
        (16, 4.0, 14.0, 2),
        (16, 2.5, 0.0, 2),
        (16, 0.5, 0.0, 1),
    ],
)
def test_threads_for_the_cores_that_others_leave(cores: int, quota: float | None, busy: float, expected: int) -> None:
    before = Counters(clock=100.0, own=1.0, busy=50.0, group=None)
    now = Counters(clock=104.0, own=5.0, busy=50.0 + 4.0 + 4.0 * busy, group=None)  # our own 4 s are among the busy
    assert threads_beside_others(machine(cores, quota), before, now) == (expected, pytest.approx(busy))


def test_what_shares_the_quota_counts() -> None:
    before, now = Counters(0.0, 0.0, 0.0, group=10.0), Counters(2.0, 2.0, 4.0, group=14.0)
    assert threads_beside_others(machine(64, 4.0), before, now) == (3, 1.0)


def test_threads_without_knowing_of_others() -> None:
    assert threads_beside_others(machine(4), Counters(0.0, 0.0, None, None), Counters(0.0, 0.0, None, None)) == (4, 0.0)


@pytest.mark.parametrize(("processes", "expected"), [(1, 8), (3, 2), (8, 1), (20, 1)])
def test_cores_are_shared(processes: int, expected: int) -> None:
    assert shared_by(processes, machine(8)) == expected


def test_a_core_with_two_processors_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: {0, 1, 4, 6}, raising=False)
    siblings = {cpu: f"{cpu % 4},{cpu % 4 + 4}\n" for cpu in range(8)}
    name = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    root = write(tmp_path, {name.format(cpu): text for cpu, text in siblings.items()})
    here = Machine.here(root)
    assert here is not None
    assert (here.cpus, here.cores, here.quota, here.limit) == ({0, 1, 4, 6}, 3, None, 3)
    bare = Machine.here(tmp_path / "nothing")
    assert bare is not None
    assert bare.cores == 4


V1 = "9:name=systemd:/\n3:cpuset:/\n2:cpu,cpuacct:/docker/a\n0::/\n"


@pytest.mark.parametrize(
    ("files", "quota", "usage"),
    [
        ({"proc/self/cgroup": "0::/\n"}, None, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, None, None),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/a/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
                "sys/fs/cgroup/cpu.max": "800000 100000\n",
            },
            1.5,
            2.5,
        ),
        (  # a container: the path is the host's
            {
                "proc/self/cgroup": "0::/system.slice/x.scope\n",
                "sys/fs/cgroup/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/cpu.stat": "user_usec 1\nusage_usec 1000000\n",
            },
            3.0,
            1.0,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/cpuacct.usage": "4000000000\n",
            },
            2.0,
            4.0,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
            None,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "much\n"}, None, None),
    ],
)
def test_quotas_of_control_groups(tmp_path: Path, files: dict[str, str], quota: float | None, usage: object) -> None:
    here = Machine.here(write(tmp_path, files))
    assert here is not None
    assert here.quota == quota
    assert Counters.now(here, tmp_path).group == usage


def test_only_work_on_our_processors_counts(tmp_path: Path) -> None:
    row = "{} {} 0 {} 900 70 0 {} 5 0 0\n"
    stat = row.format("cpu", 9999, 9999, 9999) + row.format("cpu0", 1 * TICKS, 2 * TICKS, TICKS)
    stat += row.format("cpu1", 8 * TICKS, 0, 0) + row.format("cpu10", 3 * TICKS, 0, 0) + "intr 1 2 3\n"
    root = write(tmp_path, {"proc/stat": stat})
    assert Counters.now(Machine(frozenset({0, 10}), 2), root).busy == 7.0
    assert Counters.now(Machine(frozenset({0, 10}), 2), tmp_path / "nothing").busy is None


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_the_users_own_choice_of_waiting_stays(name: str) -> None:
    assert waiting({name: "PASSIVE"}) == {}
    assert set(waiting({"OMP_NUM_THREADS": "2"})) == {"GOMP_SPINCOUNT"}


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_users_own_choice_of_threads_stays(name: str) -> None:
    assert users_choice({name: "3"}) == name
    assert users_choice({name: ""}) is None


SETTLED = """
import os, sys
from stmask.threads import begin, settle
before = dict(os.environ)
if {ours}:
    begin()
import torch
torch.set_num_threads(1)
print(settle({arguments}))
print(torch.get_num_threads(), *sorted(set(os.environ.items()) - set(before.items())))
print(settle())
"""


def settled(*, ours: bool, arguments: str = "", **environment: str) -> list[str]:
    script = SETTLED.format(ours=ours, arguments=arguments)
    environment = {**CLEAN, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_a_process_of_ours_chooses_once() -> None:
    here = Machine.here()
    assert here is not None
    line, state, again = settled(ours=True, arguments=f"before={here.limit}")
    plural = "s" * (here.limit != 1)
    policy = "; waiting: GOMP_SPINCOUNT=10000" * (here.limit > 1)
    assert line == f"{here.limit} thread{plural} (as this run began{policy})"
    assert state == f"{here.limit} ('GOMP_SPINCOUNT', '10000') ('OMP_NUM_THREADS', '{here.limit}')"
    assert again == "None"


def test_the_environment_goes_first() -> None:
    line, state, _ = settled(ours=True, arguments="processes=2", OMP_NUM_THREADS="3", OMP_WAIT_POLICY="PASSIVE")
    assert line.startswith("1 thread (OMP_NUM_THREADS=3")
    assert state == "1"


def test_a_process_that_imports_stmask_is_left_alone() -> None:
    assert settled(ours=False) == ["None", "1", "None"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("'train', '--cfg', 'hydra'", True), ("'metric', '--help'", False), ("'--help'", False)],
)
def test_only_commands_that_compute_begin(arguments: str, expected: bool) -> None:
    script = (
        f"import os, sys; sys.argv = ['stmask', {arguments}]\nimport stmask.cli\n"
        "stmask.cli._dispatch = lambda words: print('GOMP_SPINCOUNT' in os.environ)\n"
        "stmask.cli.main(sys.argv[1:])\nstmask.cli.main()"
    )
    environment = {**CLEAN, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", str(expected)], "main with words is called by another program"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ('{"machine": {"threads": 3}}', 3),
        ('{"machine": {"threads": true}}', None),
        ('{"machine": 1}', None),
        ("[", None),
    ],
)
def test_a_run_says_how_many_threads_it_has(tmp_path: Path, record: str, expected: int | None) -> None:
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    assert threads_beside(checkpoint) is None
    write(tmp_path, {"run.json": record})
    assert threads_beside(checkpoint) == expected
