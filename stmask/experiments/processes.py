"""Processes of jobs: how each is started, and a queue that keeps the devices busy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

_JOB_MODULE = "stmask.experiments.job"
_POLL = 0.1  # seconds
# what an outer launcher tells its processes of each other; a job's processes find each other anew
_RENDEZVOUS = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE",
    "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED", "PL_SEED_WORKERS",
)  # fmt: skip
_RENDEZVOUS_PREFIXES = ("TORCHELASTIC_", "PET_")
# one task of SLURM that starts its processes itself, which Lightning believes only where these are absent
_SLURM_TASK = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
_AGENTS_RUN = ("WANDB_RUN_ID", "WANDB_NAME")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Task:
    """A process to run.

    Attributes:
        command: program and arguments.
        devices: how many of the queue's devices it takes.
        log: file that its output is appended to; None for the terminal.
        environment: in full.
    """

    command: tuple[str, ...]
    devices: int = 1
    log: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def job_command(folder: Path, *, processes: int, torchrun: bool) -> tuple[str, ...]:
    """The command that trains the job of a folder: by itself, or as `processes` that torchrun starts."""
    if torchrun and processes > 1:
        runner = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m", _JOB_MODULE]
    else:
        runner = [_JOB_MODULE]
    return (sys.executable, "-m", *runner, str(folder))


def job_environment(*, jobs: int = 1) -> dict[str, str]:
    """This process's environment without what an outer launcher set for its own processes.

    Args:
        jobs: of the sweep; more than one can't all be the run that an agent of W&B chose an id for.
    """
    several_tasks = int(os.environ.get("SLURM_NTASKS", "1")) > 1
    if several_tasks:  # one process of the training each, which find each other by SLURM's variables
        return dict(os.environ)
    dropped = {*_RENDEZVOUS, *_SLURM_TASK, *(_AGENTS_RUN if jobs > 1 else ())}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in dropped and not name.startswith(_RENDEZVOUS_PREFIXES)
    }


def launched_by_torchrun() -> bool:
    """Whether this process is one of several that `torchrun` started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@dataclass
class _Running:
    index: int
    process: subprocess.Popen[bytes]
    devices: list[str]
    signals: int = 0  # how many it was sent


class Queue:
    """Runs tasks in their order, as many at a time as there are devices for; no device has two tasks.

    The first task that waits has the next devices: a large one is not overtaken by small ones for ever. SIGINT and
    SIGTERM go to the running tasks as SIGTERM, and nothing more is started; a second one kills them.

    Args:
        devices: names for CUDA_VISIBLE_DEVICES; None for one task at a time that sees all there is.
        is_due: asked with a task's index right before it would start; if not, it is left out.
        on_start: called with a task's index and its devices.
        on_end: called with a task's index and its exit status.
    """

    def __init__(
        self,
        devices: Sequence[str] | None,
        *,
        is_due: Callable[[int], bool] = lambda index: True,
        on_start: Callable[[int, Sequence[str]], None] = lambda index, devices: None,
        on_end: Callable[[int, int], None] = lambda index, status: None,
    ) -> None:
        self.devices = devices
        self.stopped_by: signal.Signals | None = None
        self._signals = 0
        self._is_due, self._on_start, self._on_end = is_due, on_start, on_end
        self._running: list[_Running] = []

    def run(self, tasks: Sequence[Task]) -> list[int | None]:
        """The exit status of each task; None for one never started: not due, or the queue was told to stop."""
        statuses: list[int | None] = [None] * len(tasks)
        free = list(self.devices or ["all"])
        waiting = list(range(len(tasks)))
        with self._listening():
            try:
                while self._running or (waiting and self.stopped_by is None):
                    self._pass_on_signals()
                    while waiting and self.stopped_by is None and self._needed(tasks[waiting[0]]) <= len(free):
                        index = waiting.pop(0)
                        if not self._is_due(index):
                            continue
                        taken = [free.pop(0) for _ in range(self._needed(tasks[index]))]
                        self._start(index, tasks[index], taken)
                    for done in [running for running in self._running if running.process.poll() is not None]:
                        self._running.remove(done)
                        free.extend(done.devices)
                        statuses[done.index] = done.process.returncode
                        self._on_end(done.index, done.process.returncode)
                    time.sleep(_POLL)
            finally:  # whatever ends this process lets the tasks save what they have
                for running in self._running:
                    running.process.terminate()
                for running in self._running:
                    running.process.wait()
        return statuses

    def _needed(self, task: Task) -> int:
        return 1 if self.devices is None else task.devices

    def _start(self, index: int, task: Task, devices: list[str]) -> None:
        environment = dict(task.environment)
        if self.devices is not None:
            environment[_VISIBLE] = ",".join(devices)
        with ExitStack() as files:
            output = None
            if task.log is not None:
                task.log.parent.mkdir(parents=True, exist_ok=True)
                output = files.enter_context(task.log.open("ab"))
            process = subprocess.Popen(
                task.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
            )
        self._running.append(_Running(index, process, devices))
        self._on_start(index, devices if self.devices is not None else ())

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

    def _pass_on_signals(self) -> None:
        for running in self._running:
            if running.signals < min(self._signals, 2):
                _kill(running.process) if self._signals > 1 else running.process.terminate()
                running.signals = self._signals


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With the processes that it started: each task leads a session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
