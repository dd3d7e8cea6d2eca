from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from stmask.experiments.processes import Queue, QueuedProcess, job_command, job_environment, sharing_cores
from stmask.threads import Machine

# what a task does: notes when it runs and on what, then sleeps
NOTE = """
import os, sys, time
with open(sys.argv[1], "a") as notes:
    notes.write(f"start {sys.argv[2]} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\\n")
time.sleep(float(sys.argv[3]))
with open(sys.argv[1], "a") as notes:
    notes.write(f"end {sys.argv[2]} -\\n")
sys.exit(int(sys.argv[4]))
"""


def task(
    notes: Path,
    name: str,
    *,
    seconds: float = 0.2,
    status: int = 0,
    devices: int = 1,
    kind: type[QueuedProcess] = QueuedProcess,
) -> QueuedProcess:
    command = (sys.executable, "-S", "-c", NOTE, str(notes), name, str(seconds), str(status))
    return kind(command, devices=devices, environment={"PATH": os.environ["PATH"]})


def run(
    tasks: Sequence[QueuedProcess], devices: Sequence[str] | None = None, *, per_device: int = 1
) -> list[int | None]:
    Queue(devices, per_device=per_device).run(tasks)
    return [task.status for task in tasks]


def events(notes: Path) -> list[tuple[str, str, list[str]]]:
    lines = (line.split() for line in notes.read_text().splitlines())
    return [(what, name, devices.split(",")) for what, name, devices in lines]


def test_without_devices_tasks_run_in_turn_and_see_them_all(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    statuses = run([task(notes, "a", devices=4), task(notes, "b", status=3), task(notes, "c")])
    assert statuses == [0, 3, 0]
    assert [event[:2] for event in events(notes)] == [(what, name) for name in "abc" for what in ("start", "end")]
    assert {event[2][0] for event in events(notes)} == {"-"}


def test_a_device_has_one_task_at_a_time_and_none_stays_idle(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    started: list[tuple[str, tuple[str, ...]]] = []
    ended: list[tuple[str, int | None, bool]] = []

    class Noting(QueuedProcess):
        def on_start(self, devices: Sequence[str]) -> None:
            started.append((self.command[-3], tuple(devices)))

        def on_end(self, *, stopped: bool) -> None:
            ended.append((self.command[-3], self.status, stopped))

    kinds = [{"name": "a", "seconds": 1.0}, {"name": "b"}, {"name": "c"}, {"name": "d", "devices": 2}]
    run([task(notes, **kind, kind=Noting) for kind in kinds], ["4", "7"])  # type: ignore[arg-type]
    busy: dict[str, list[str]] = {}
    for what, name, devices in events(notes):
        if what == "end":
            busy.pop(name)
            continue
        assert not {used for others in busy.values() for used in others} & set(devices), "a device is taken twice"
        busy[name] = devices
    assert started == [("a", ("4",)), ("b", ("7",)), ("c", ("7",)), ("d", ("4", "7"))]
    assert sorted(ended) == [(name, 0, False) for name in "abcd"]


def test_several_tasks_share_a_device_and_one_that_takes_two_has_different_ones(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    names = ["GPU-a", "MIG-b"]
    kinds = [{"name": name, "seconds": 1.0} for name in "abc"] + [{"name": "d", "devices": 2}, {"name": "e"}]
    run([task(notes, **kind) for kind in kinds], names, per_device=2)  # type: ignore[arg-type]
    started = {name: devices for what, name, devices in events(notes) if what == "start"}
    assert sorted(map(started.get, "ab")) == [["GPU-a"], ["MIG-b"]], "the emptiest device is next"
    assert started["d"] == names
    running: dict[str, list[str]] = {}
    most = 0
    for what, name, devices in events(notes):
        if what == "end":
            running.pop(name)
            continue
        running[name] = devices
        used = [device for others in running.values() for device in others]
        assert max(map(used.count, used)) <= 2
        most = max(most, len(running))
    assert most >= 3, "a and b on different devices, c beside one of them"


def test_processes_share_the_cores_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "here", lambda: Machine(frozenset(range(16)), 8, 6.0))
    assert sharing_cores({"A": "b"}, processes=4) == {"A": "b", "OMP_NUM_THREADS": "1"}
    assert sharing_cores({}, processes=2) == {"OMP_NUM_THREADS": "3"}
    assert sharing_cores({"MKL_NUM_THREADS": "2"}, processes=2) == {"MKL_NUM_THREADS": "2"}
    assert sharing_cores({}, processes=1) == {}, "it looks how busy the machine is when it begins"


def test_what_is_no_longer_due_is_left_out(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    class Once(QueuedProcess):
        def is_due(self) -> bool:  # asked when it would start
            return not notes.exists() or self.command[-3] == "c"

    assert run([task(notes, name, kind=Once) for name in "abc"], ["0"]) == [0, None, 0]
    assert [name for what, name, _ in events(notes) if what == "start"] == ["a", "c"]


def test_output_goes_to_the_log_and_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "folder" / "job.log"
    command = (sys.executable, "-S", "-c", "import sys; print('out'); print('err', file=sys.stderr)")
    for _ in range(2):
        Queue(["0"]).run([QueuedProcess(command, log=log)])
    assert sorted(log.read_text().split()) == ["err", "err", "out", "out"]


# a queue of two tasks, of which each says that it was told to stop
STOPPED = """
import sys
from stmask.experiments.processes import Queue, QueuedProcess
child = '''
import signal, sys, time
def stop(number, frame):
    print("told", flush=True)
    if STUBBORN:
        return
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while True:
    time.sleep(0.05)
'''
tasks = [QueuedProcess((sys.executable, "-S", "-c", child.replace("STUBBORN", sys.argv[1]))) for _ in range(2)]
queue = Queue(None)
queue.run(tasks)
print([task.status for task in tasks], queue.stopped_by, flush=True)
"""


@pytest.mark.parametrize(
    ("number", "stubborn", "report"), [(signal.SIGTERM, False, "[143, None] 15"), (signal.SIGINT, True, "[-9, None] 2")]
)
def test_a_signal_is_passed_on_once_and_the_second_kills(number: int, stubborn: bool, report: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(STOPPED), str(stubborn)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.stdout.readline() == "told\n"
    if stubborn:
        process.send_signal(number)
    rest = process.stdout.read()
    assert process.wait() == 0
    assert rest.replace("Signals.SIGTERM", "15").replace("Signals.SIGINT", "2").strip() == report


def test_a_queue_that_is_left_stops_its_tasks(tmp_path: Path) -> None:
    """As by the handler of a cluster's tool, which raises SystemExit wherever the program is."""

    class Leaving(QueuedProcess):
        def on_start(self, devices: Sequence[str]) -> None:
            raise SystemExit(3)

    notes = tmp_path / "notes"
    with pytest.raises(SystemExit):
        run([task(notes, "a", seconds=60, kind=Leaving)])
    assert not notes.exists() or "end" not in notes.read_text()


def test_an_outer_launchers_variables_do_not_reach_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "SLURM_PROCID"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    environment = job_environment()
    assert environment["SLURM_JOB_ID"] == "9"
    assert not {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "SLURM_PROCID"} & set(
        environment
    )
    monkeypatch.setenv("SLURM_NTASKS", "4")  # SLURM starts the processes of the job
    assert job_environment()["SLURM_PROCID"] == "1"


def test_torchrun_starts_only_what_is_distributed(tmp_path: Path) -> None:
    assert "torch.distributed.run" not in job_command(tmp_path, processes=1, torchrun=True)
    assert "torch.distributed.run" not in job_command(tmp_path, processes=2, torchrun=False)
    assert "--nproc_per_node=2" in job_command(tmp_path, processes=2, torchrun=True)
