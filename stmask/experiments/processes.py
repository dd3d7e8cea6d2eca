"""Starts the processes of jobs, and keeps the devices busy with a queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from stmask.threads import THREADS, Machine, shared_by, users_choice

_JOB_MODULE = "stmask.experiments.jobs"
_POLL = 0.1  # seconds
# what an outer launcher tells its processes about each other; a job's processes find each other anew
_RENDEZVOUS = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED", "PL_SEED_WORKERS",
)  # fmt: skip
_RENDEZVOUS_PREFIXES = ("TORCHELASTIC_", "PET_")
# one SLURM task that starts its own processes, which Lightning only believes if these are absent
_SLURM_TASK = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
_AGENTS_RUN = ("WANDB_RUN_ID", "WANDB_NAME")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def job_command(folder: Path, *, processes: int, torchrun: bool) -> tuple[str, ...]:
    """The command that trains the job of a folder: alone, or as `processes` that torchrun starts."""
    if torchrun and processes > 1:
        runner = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m", _JOB_MODULE]
    else:
        runner = [_JOB_MODULE]
    return (sys.executable, "-m", *runner, str(folder))


def job_environment(*, jobs: int = 1) -> dict[str, str]:
    """This process's environment without what an outer launcher set for its own processes.

    Args:
        jobs: of the sweep; several can't all be the one run that a W&B agent chose an id for.
    """
    several_tasks = int(os.environ.get("SLURM_NTASKS", "1")) > 1
    if several_tasks:  # one process of the run each, which find each other by SLURM's variables
        return dict(os.environ)
    dropped = {*_RENDEZVOUS, *_SLURM_TASK, *(_AGENTS_RUN if jobs > 1 else ())}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in dropped and not name.startswith(_RENDEZVOUS_PREFIXES)
    }


def sharing_cores(environment: Mapping[str, str], *, processes: int) -> dict[str, str]:
    """An environment in which each of several processes gets its share of the cores, unless the user chose threads."""
    machine = Machine.here()
    if processes == 1 or machine is None or users_choice(environment) is not None:
        return dict(environment)
    return {**environment, THREADS: str(shared_by(processes, machine))}


def launched_by_torchrun() -> bool:
    """Whether this process is one of several that `torchrun` started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@dataclass
class QueuedProcess:
    """A process to run. A subclass may decide whether it is still due, and is told of its start and end.

    Attributes:
        command: program and arguments.
        devices: how many of the queue's devices it takes.
        log: file that its output is appended to; None: the terminal.
        environment: in full.
        status: exit status; None until it has ended.
    """

    command: tuple[str, ...]
    devices: int = 1
    log: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    status: int | None = None

    def is_due(self) -> bool:
        """Called right before the start; if false, the process is skipped."""
        return True

    def on_start(self, devices: Sequence[str]) -> None:
        """Called with the names of its devices; empty if the queue assigns none."""

    def on_end(self, *, stopped: bool) -> None:
        """Called with whether the queue was told to stop; `status` is set."""

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        """Starts the process, with additional environment variables."""
        with ExitStack() as files:
            output = None
            if self.log is not None:
                self.log.parent.mkdir(parents=True, exist_ok=True)
                output = files.enter_context(self.log.open("ab"))
            return subprocess.Popen(
                self.command,
                env={**self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C only reaches this process, which passes it on once
            )


@dataclass
class _Running:
    task: QueuedProcess
    process: subprocess.Popen[bytes]
    devices: Sequence[str]
    signals: int = 0  # how many it was sent

    def pass_on(self, signals: int) -> None:
        """The first signal ends the process; the second kills it and everything it started: it leads a session."""
        if self.signals < min(signals, 2):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL) if signals > 1 else self.process.terminate()
            self.signals = signals


class Queue:
    """Runs processes in order, as many at a time as there is room for on the devices.

    A process that takes several gets different ones, those with the most room.

    The first one waiting gets the next devices: small ones cannot overtake a large one forever. SIGINT and SIGTERM go
    to the running processes as SIGTERM, and nothing more is started; a second one kills them.

    Args:
        devices: names for CUDA_VISIBLE_DEVICES; None: one process at a time, which sees all devices.
        per_device: how many processes a device has at a time.

    Attributes:
        stopped_by: the last signal received.
    """

    def __init__(self, devices: Sequence[str] | None, *, per_device: int = 1) -> None:
        self.devices = devices
        self.per_device = per_device
        self.stopped_by: signal.Signals | None = None
        self._signals = 0

    def run(self, tasks: Sequence[QueuedProcess]) -> None:
        """Returns when all processes that are due have ended; those that a signal kept from starting have no status."""
        room = dict.fromkeys(self.devices or ["all"], self.per_device)
        waiting, running = list(tasks), list[_Running]()
        with self._listening():
            try:
                while running or (waiting and self.stopped_by is None):
                    for one in running:
                        one.pass_on(self._signals)
                    while waiting and self.stopped_by is None:
                        needed = 1 if self.devices is None else waiting[0].devices
                        free = sorted((name for name in room if room[name]), key=room.__getitem__, reverse=True)
                        if needed > len(free):
                            break
                        if (task := waiting.pop(0)).is_due():
                            taken = [name for name in room if name in free[:needed]]
                            room.update({name: room[name] - 1 for name in taken})
                            shown = () if self.devices is None else taken
                            variables = {_VISIBLE: ",".join(shown)} if shown else {}
                            running.append(_Running(task, task.start(**variables), taken))
                            task.on_start(shown)
                    for one in [one for one in running if one.process.poll() is not None]:
                        running.remove(one)
                        room.update({name: room[name] + 1 for name in one.devices})
                        one.task.status = one.process.returncode
                        one.task.on_end(stopped=self.stopped_by is not None)
                    time.sleep(_POLL)
            finally:  # whatever ends this process, the others may save what they have
                for one in running:
                    one.process.terminate()
                for one in running:
                    one.process.wait()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self.stopped_by = signal.Signals(number)
