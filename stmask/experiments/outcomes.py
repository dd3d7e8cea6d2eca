"""What a sweep does with each job's folder as it finds it, and what came of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stmask.engine.run_folder import SUMMARY, State, Status, status_of
from stmask.errors import DataError
from stmask.experiments.jobs import Job
from stmask.files import read_json

Verdict = Literal[
    "done", "resumed", "skipped", "failed", "failed before", "in use", "interrupted", "killed", "not started"
]
_GOOD = frozenset({"done", "resumed", "skipped"})


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        job: as it was planned.
        verdict: "skipped" was done before, "resumed" is done and began in an earlier sweep, "failed before" was left
            alone, "in use" is trained by another process.
        error: one line, where there is something to say.
    """

    job: Job
    verdict: Verdict
    error: str | None = None

    @property
    def good(self) -> bool:
        return self.verdict in _GOOD


def without_running(job: Job) -> Outcome | None:
    """The outcome of a job that is not to be started, as its folder stands; None for one that is."""
    status = status_of(job.folder)
    if status.state == "done":
        return Outcome(job, "skipped")
    if status.state == "running":
        return _in_use(job, status)
    if status.state == "failed" and not job.cfg.retry_failed:
        return Outcome(job, "failed before", f"{status.error} (retry_failed=true tries again)")
    return None


def after_running(job: Job, *, before: State, exit_status: int, stopped: bool, log: Path | None) -> Outcome:
    """The outcome of a job that was started.

    Args:
        job: as it was planned.
        before: the state of its folder.
        exit_status: of its process.
        stopped: the sweep was told to stop.
        log: where its process wrote; None for the terminal.
    """
    status = status_of(job.folder)
    if status.state == "done" and exit_status == 0:
        return Outcome(job, "resumed" if before in ("cut off", "interrupted") else "done")
    if status.state == "failed":
        return Outcome(job, "failed", status.error)
    if stopped or status.state == "interrupted":
        return Outcome(job, "interrupted", "repeat the command to go on")
    if status.state == "running":  # another sweep was the first to lock the folder
        return _in_use(job, status)
    if exit_status < 0:
        return Outcome(job, "killed", f"by {signal.Signals(-exit_status).name}; repeat the command to go on")
    where = "above" if log is None else f"in {log}"
    return Outcome(job, "failed", f"exit status {exit_status}, the reason stands {where}")


def at_last(job: Job, outcome: Outcome | None) -> Outcome:
    """The outcome of a job when all have ended; what another process trained may be done by now.

    Args:
        job: as it was planned.
        outcome: None for a job that was never started.
    """
    if outcome is None or outcome.verdict == "in use":
        return without_running(job) or outcome or Outcome(job, "not started")
    return outcome


def _in_use(job: Job, status: Status) -> Outcome:
    return Outcome(job, "in use", f"by process {status.pid} on {status.host}")


def value_of(job: Job) -> float | None:
    """The figure that the job's configuration monitors, of its best validation; None where nothing was validated."""
    try:
        figure = read_json(job.folder / SUMMARY).get(job.cfg.monitor)
    except (DataError, AttributeError):
        return None
    return None if figure is None else float(figure)


def table_of(outcomes: Sequence[Outcome]) -> str:
    """What happened, a line for each job and one for each thing to say of it."""
    lines = [("", "job", "folder")]
    lines += [(outcome.verdict, outcome.job.title, os.path.relpath(outcome.job.folder)) for outcome in outcomes]
    widths = [max(len(line[column]) for line in lines) for column in range(2)]
    text = []
    for line, outcome in zip(lines, [None, *outcomes]):
        text.append(f"{line[0]:{widths[0]}}  {line[1]:{widths[1]}}  {line[2]}")
        if outcome is not None and outcome.error:
            text.append(f"{'':{widths[0]}}  {outcome.error}")
    return "\n".join(text)
