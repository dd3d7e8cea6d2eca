"""The folder of one training run: who holds it, how far its run is, and what it was made of."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from stmask.errors import DataError, OutputError, StmaskError
from stmask.files import read_json, write_json

CONFIG, RECORD, STATUS, SUMMARY, METRICS, LOG = (
    "config.yaml", "run.json", "status.json", "summary.json", "metrics.csv", "train.log"
)  # fmt: skip
CHECKPOINTS, LAST, BEST = "checkpoints", "last.ckpt", "best.ckpt"
_LOCK = ".lock"
_LOCK_PATIENCE = 1.0  # seconds; who only looks at a folder holds its lock for an instant

State = Literal["new", "running", "cut off", "interrupted", "failed", "done"]
_log = logging.getLogger(__name__)
_held: set[int] = set()  # descriptors of this process's locks


@dataclass(frozen=True)
class Origin:
    """What a run was asked for with.

    Attributes:
        command: the words of the command line.
        overrides: of the configuration.
        experiment: option of the group `experiment`, such as "table4/t4_fca_ada".
        table: the table of the paper that the run is a row of.
    """

    command: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    experiment: str | None = None
    table: str | None = None


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
        content = read_json(path / STATUS)
        status = Status(**{name: content[name] for name in Status.__dataclass_fields__ if name in content})
    except (DataError, TypeError):
        return Status()
    if status.state == "running" and not _is_locked(path / _LOCK):
        return replace(status, state="cut off")
    return status


def state_of(folder: str | os.PathLike[str]) -> State:
    """How a run is: "new", "running", "cut off" (killed: no time to say so), "interrupted", "failed" or "done"."""
    return status_of(folder).state


class RunFolder:
    """A run's folder and the right to write in it, which only the first process of a run has.

    Args:
        path: made when it is needed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / CHECKPOINTS
        self.last = self.checkpoints / LAST
        self.best = self.checkpoints / BEST

    @contextmanager
    def held(self) -> Iterator[None]:
        """Locked for all other runs, and marked by how the block ends: done, failed or interrupted.

        Other processes than the run's first pass through.

        Raises:
            OutputError: another run holds the folder.
        """
        if not is_first_process():
            yield
            return
        with _lock(self.path):
            self._begin()
            try:
                yield
            except Exception as error:
                self._end("failed", error=_one_line(error))
                self._keep_traceback()
                raise
            except BaseException:  # told to stop
                self._end("interrupted")
                raise
            self._end("done")

    def reached(self, step: int) -> None:
        """Notes the step of a checkpoint that was just written."""
        if is_first_process():
            self._write(replace(status_of(self.path), step=step))

    def _begin(self) -> None:
        before = status_of(self.path)
        self._write(
            Status(
                state="running",
                started=_now(),
                host=socket.gethostname(),
                pid=os.getpid(),
                attempts=before.attempts + 1,
                step=before.step,
            )
        )

    def _end(self, state: State, *, error: str | None = None) -> None:
        try:
            self._write(replace(status_of(self.path), state=state, error=error, finished=_now()))
        except OutputError as problem:  # a full disk must not hide why the run ends
            _log.error("%s", problem)

    def _keep_traceback(self) -> None:
        try:
            with (self.path / LOG).open("a") as handle:
                handle.write(traceback.format_exc())
        except OSError:
            _log.debug("no room for the traceback", exc_info=True)

    def _write(self, status: Status) -> None:
        write_json(self.path / STATUS, asdict(status), indent=1)


def is_first_process() -> bool:
    """Whether this process speaks for its run: the only one, or that of rank 0."""
    ranks = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """The lock of a folder, given back when the block ends or the process dies, however it does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(f"cannot write in {folder}: {error.strerror or error}") from error
    _held.add(descriptor)
    try:
        _take(descriptor, folder)
        holder = {"host": socket.gethostname(), "pid": os.getpid()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    patience = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > patience:
                raise OutputError(
                    f"{folder} is in use by another run ({_holder(descriptor)}): wait for it, stop it, or give this "
                    "run another output_dir"
                ) from None
            time.sleep(0.05)
        except OSError as error:
            _log.warning("%s: no locks on this disk (%s); two runs in one folder go unnoticed", folder, error.strerror)
            return


def _holder(descriptor: int) -> str:
    try:
        content = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {content['pid']} on {content['host']}"
    except (ValueError, KeyError, TypeError):
        return "its process is not known"


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _forget_locks() -> None:
    """A forked process (of a data loader) may outlive a run that was killed, and must not hold its lock."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)


def _one_line(error: Exception) -> str:
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return text if isinstance(error, StmaskError) else f"{type(error).__name__}: {text}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
