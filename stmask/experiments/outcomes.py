"""Runs the jobs of a sweep as processes: what to do with each folder, and the outcome."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from stmask.errors import DataError, Interrupted
from stmask.evaluation.report import render
from stmask.experiments.jobs import Job
from stmask.experiments.processes import (
    Queue,
    QueuedProcess,
    job_command,
    job_environment,
    launched_by_torchrun,
    sharing_cores,
)
from stmask.files import read_json
from stmask.runs.folder import SUMMARY, State, status_of
from stmask.threads import THREADS

Verdict = Literal[
    "done", "resumed", "skipped", "failed", "failed before", "in use", "interrupted", "killed", "not started"
]
_GOOD = frozenset({"done", "resumed", "skipped"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    Attributes:
        job: as planned. verdict: "skipped" was done before, "resumed" is done but began in an earlier sweep, "failed
            before" was left alone, "in use" is being trained by another process.
        error: one line, if there is one.
    """

    job: Job
    verdict: Verdict
    error: str | None = None

    @property
    def good(self) -> bool:
        return self.verdict in _GOOD


def outcome_before(job: Job) -> Outcome | None:
    """The outcome of a job that will not be started, given its folder; None for one that will."""
    status = status_of(job.folder)
    if status.state == "done":
        return Outcome(job, "skipped")
    if status.state == "running":
        return Outcome(job, "in use", f"by process {status.pid} on {status.host}")
    if status.state == "failed" and not job.cfg.retry_failed:
        return Outcome(job, "failed before", f"{status.error} (retry_failed=true tries again)")
    return None


def outcome_after(job: Job, *, before: State, exit_status: int, stopped: bool, log: Path | None) -> Outcome:
    """The outcome of a job that was started.

    Args:
        job: as it was planned.
        before: the state of its folder.
        exit_status: of its process.
        stopped: the sweep was told to stop.
        log: where its process wrote; None: the terminal.
    """
    status = status_of(job.folder)
    if status.state == "done" and exit_status == 0:
        return Outcome(job, "resumed" if before in ("cut off", "interrupted") else "done")
    if status.state == "failed":
        return Outcome(job, "failed", status.error)
    if stopped or status.state == "interrupted":
        return Outcome(job, "interrupted", "repeat the command to go on")
    if status.state == "running" and (taken := outcome_before(job)):  # another sweep locked the folder first
        return taken
    if exit_status < 0:
        return Outcome(job, "killed", f"by {signal.Signals(-exit_status).name}; repeat the command to go on")
    where = "above" if log is None else f"in {log}"
    return Outcome(job, "failed", f"exit status {exit_status}, the reason is {where}")


def final_outcome(job: Job, outcome: Outcome | None) -> Outcome:
    """The outcome of a job after all have ended; one that another process trained may be done by now.

    Args:
        job: as it was planned.
        outcome: None for a job that was never started.
    """
    if outcome is None or outcome.verdict == "in use":
        return outcome_before(job) or outcome or Outcome(job, "not started")
    return outcome


class _JobProcess(QueuedProcess):
    """The process of a job; records and logs its outcome."""

    def __init__(self, job: Job, *, log: str | None, torchrun: bool, environment: Mapping[str, str]) -> None:
        processes = job.processes or 1
        command = job_command(job.folder, processes=processes, torchrun=torchrun)
        output = None if log is None else job.folder / log
        if torchrun:  # which gives one thread to each process that has no number
            environment = sharing_cores(environment, processes=processes)
        super().__init__(command, devices=processes, log=output, environment=environment)
        self.job = job
        self.outcome: Outcome | None = None
        self._before: State = "new"

    def is_due(self) -> bool:
        if (outcome := outcome_before(self.job)) is not None:
            self._note(outcome)
            return False
        self._before = status_of(self.job.folder).state
        self.job.write()
        return True

    def on_start(self, devices: Sequence[str]) -> None:
        where = f" on device {', '.join(devices)}" if devices else ""
        verb = "started" if self._before in ("new", "failed") else "resumed"
        _log.info("%s%s: %s -> %s", verb, where, self.job.title, os.path.relpath(self.job.folder))

    def on_end(self, *, stopped: bool) -> None:
        assert self.status is not None
        status = self.status
        self._note(outcome_after(self.job, before=self._before, exit_status=status, stopped=stopped, log=self.log))

    def _note(self, outcome: Outcome) -> None:
        self.outcome = outcome
        _log.info("%s: %s", outcome.verdict, self.job.title)


def run_jobs(
    jobs: Sequence[Job],
    *,
    devices: Sequence[str] | None,
    per_device: int = 1,
    log: str | None = None,
    torchrun: bool = False,
) -> dict[Path, Outcome]:
    """Starts the jobs that are due, waits for them, and returns each outcome by folder.

    Args:
        jobs: of one sweep.
        devices: names for CUDA_VISIBLE_DEVICES; None: one job at a time, which sees all devices.
        per_device: how many processes a device has at a time.
        log: name of the file in a job's folder that its process writes to; None for the terminal.
        torchrun: start the processes of a distributed job by torchrun, and not by Lightning.

    Raises:
        Interrupted: the sweep was told to stop.
    """
    torchrun, environment = torchrun or launched_by_torchrun(), job_environment(jobs=len(jobs))
    if devices is not None:
        processes = min(len(devices) * per_device, sum(job.processes or 1 for job in jobs))
        environment = sharing_cores(environment, processes=processes)
        if processes > 1:
            threads = f", each with {THREADS}={environment[THREADS]}" if THREADS in environment else ""
            _log.info("up to %d processes at a time%s", processes, threads)
    tasks = [_JobProcess(job, log=log, torchrun=torchrun, environment=environment) for job in jobs]
    queue = Queue(devices, per_device=per_device)
    queue.run(tasks)
    outcomes = {task.job.folder: final_outcome(task.job, task.outcome) for task in tasks}
    if queue.stopped_by is not None:
        print(table_of(list(outcomes.values())), flush=True)
        raise Interrupted(128 + queue.stopped_by)
    return outcomes


def monitored_value(job: Job) -> float | None:
    """The metric that the job monitors, at its best validation; None if nothing was validated."""
    try:
        value = read_json(job.folder / SUMMARY).get(job.cfg.monitor)
    except (DataError, AttributeError):
        return None
    return None if value is None else float(value)


def table_of(outcomes: Sequence[Outcome], *, places: Mapping[Path, str] | None = None) -> str:
    """What happened: a line for each job, and one for each remark on it.

    Args:
        outcomes: in order.
        places: where each job was trained, by its folder; None: here.
    """
    monitored = " or ".join(dict.fromkeys(str(outcome.job.cfg.monitor) for outcome in outcomes))
    where = () if places is None else ("where",)
    table = Table("", *where, "attempts", monitored, "folder", "job", box=None, pad_edge=False)
    for outcome in outcomes:
        job = outcome.job
        said = "\n".join(filter(None, (job.title, outcome.error)))
        value = monitored_value(job)
        table.add_row(
            outcome.verdict,
            *(Text(places[job.folder]) for places in ([] if places is None else [places])),
            str(status_of(job.folder).attempts or ""),
            "" if value is None else f"{value:.4f}",
            Text(os.path.relpath(job.folder)),
            Text(said),
        )
    return render(table)
