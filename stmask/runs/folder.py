"""The folder of one training run: who holds it, how far the run is, and what it was made of."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stmask.errors import ConfigError, DataError, OutputError, StmaskError, one_line
from stmask.files import atomic_open, read_json, require_file, write_json
from stmask.runs.lock import is_locked, lock
from stmask.signatures import check_arguments

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONFIG, RECORD, STATUS, SUMMARY, LOG, CHANGES = (
    "config.yaml", "run.json", "status.json", "summary.json", "train.log", "git.diff"
)  # fmt: skip
METRICS, PERFORMANCE = "metrics.csv", "performance.csv"
CHECKPOINTS, LAST, BEST = "checkpoints", "last.ckpt", "best.ckpt"
_LITTER = ".*.tmp*"  # what a killed process leaves of a file that it was writing

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

State = Literal["new", "running", "cut off", "interrupted", "failed", "done"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """What a run was asked for with.

    Attributes:
        command: the words of the command line.
        overrides: of the configuration.
        experiment: option of the group `experiment`, such as "table4/t4_fca_ada".
        table: the table of the paper that the run is a row of.
        again: what to type to go on with the run; None: its command with resume=auto.
    """

    command: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    experiment: str | None = None
    table: str | None = None
    again: str | None = None


@dataclass(frozen=True)
class Status:
    """What status.json says of a run; times are ISO 8601, in UTC.

    Attributes:
        state: as the run last wrote it; see `state_of` for what it is.
        error: one line, where the run failed.
        started, finished: of the last attempt.
        host, pid: of its first process.
        attempts: how often the run was started.
        step: optimiser steps that its last checkpoint has.
    """

    state: State = "new"
    error: str | None = None
    started: str | None = None
    finished: str | None = None
    host: str | None = None
    pid: int | None = None
    attempts: int = 0
    step: int = 0


def status_of(folder: str | os.PathLike[str]) -> Status:
    """What a run wrote of itself; that of a new one for a folder without status.json, or one that is not whole.

    `state` is "cut off" where the run was killed, and says so by a lock that nobody holds.
    """
    path = Path(folder)
    try:
        require_file(path / STATUS)
        content = read_json(path / STATUS)
        said = {name: content[name] for name in Status.__dataclass_fields__ if name in content}
        check_arguments(Status, said, key=STATUS)
        status = Status(**said)
    except (DataError, TypeError, ConfigError):
        return Status()
    if status.state == "running" and not is_locked(path):
        return replace(status, state="cut off")
    return status


def state_of(folder: str | os.PathLike[str]) -> State:
    """How a run is: "new", "running", "cut off" (killed: no time to say so), "interrupted", "failed" or "done"."""
    return status_of(folder).state


class RunFolder:
    """A run's folder and the right to write in it, which only the first process of a run has.

    config.yaml (resolved), run.json and git.diff say what the run is, status.json how far it is, metrics.csv and
    train.log what happened, summary.json what came of it; checkpoints/{best,last}.ckpt hold the network.

    Args:
        path: made when it is needed.
        first: this process is the run's first, see `stmask.engine.processes.is_first_process`.
    """

    def __init__(self, path: str | os.PathLike[str], *, first: bool = True) -> None:
        self.path = Path(path)
        self.first = first
        self.metrics = self.path / METRICS
        self.checkpoints = self.path / CHECKPOINTS
        self.last = self.checkpoints / LAST
        self.best = self.checkpoints / BEST

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs out for the length of the block. Processes other than the run's first pass through.

        Raises:
            OutputError: another run holds the folder.
        """
        with lock(self.path) if self.first else nullcontext():
            yield

    @contextmanager
    def attempt(self, *, resumed: bool, again: str | None = None) -> Iterator[None]:
        """Marks the run as running, and at the end of the block by how it ends: done, failed or interrupted.

        All that is logged meanwhile goes to train.log, too.

        Args:
            resumed: the run goes on from its checkpoint; otherwise what is left of it is cleared away.
            again: see `Origin`.
        """
        if not self.first:
            yield
            return
        self._begin(resumed=resumed)
        with self._logged() as log:
            try:
                yield
            except Exception as error:
                kind = "" if isinstance(error, StmaskError) else f"{type(error).__name__}: "
                self.end("failed", error=kind + one_line(error))
                failed = {"name": __name__, "levelname": "ERROR", "msg": "the run failed", "exc_info": sys.exc_info()}
                log.emit(logging.makeLogRecord(failed))
                raise
            except BaseException:  # told to stop
                self.end("interrupted")
                if self.last.exists():
                    step = status_of(self.path).step
                    _log.info(
                        "stopped after step %d; to go on: %s", step, again or f"resume=auto output_dir={self.path}"
                    )
                raise
            self.end("done")

    def describe(self, cfg: DictConfig, record: dict[str, Any], *, changes: str | None) -> None:
        """Writes what the run is: its configuration, `stmask.runs.provenance`, and the changes of the code."""
        if not self.first:
            return
        from omegaconf import OmegaConf

        with atomic_open(self.path / CONFIG) as handle:
            handle.write(OmegaConf.to_yaml(cfg, resolve=True))
        write_json(self.path / RECORD, record, indent=1)
        if changes:
            with atomic_open(self.path / CHANGES) as handle:
                handle.write(changes)
        else:
            (self.path / CHANGES).unlink(missing_ok=True)

    def reached(self, step: int) -> None:
        """Notes the step of a checkpoint that was just written."""
        if self.first:
            self._write(replace(status_of(self.path), step=step))

    def summarise(self, metrics: dict[str, float]) -> None:
        """Writes what came of the run."""
        if self.first:
            write_json(self.path / SUMMARY, metrics, indent=1)

    def _begin(self, *, resumed: bool) -> None:
        before = status_of(self.path)
        status = Status(
            state="running",
            started=_now(),
            host=socket.gethostname(),
            pid=os.getpid(),
            attempts=before.attempts + 1,
            step=before.step if resumed else 0,
        )
        self._write(status)
        stale = [self.path / SUMMARY, *self.path.glob(_LITTER), *self.checkpoints.glob(_LITTER)]
        if not resumed:
            stale.append(self.metrics)
        for file in stale:
            file.unlink(missing_ok=True)

    def end(self, state: State, *, error: str | None = None) -> None:
        """Notes how the attempt ended."""
        if not self.first:
            return
        try:
            self._write(replace(status_of(self.path), state=state, error=error, finished=_now()))
        except OutputError as problem:  # a full disk must not hide why the run ends
            _log.error("%s", problem)

    @contextmanager
    def _logged(self) -> Iterator[logging.Handler]:
        handler = _RunLog(self.path / LOG, delay=True, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(logging.Formatter(_FORMAT))
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            yield handler
        finally:
            root.removeHandler(handler)
            handler.close()

    def _write(self, status: Status) -> None:
        write_json(self.path / STATUS, asdict(status), indent=1)


class _RunLog(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk ends the run where it writes what counts, and is reported there."""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
