"""Jobs of a sweep without the start-up of their processes: one imports everything, all others are copies of it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from stmask.console import exit_status
from stmask.experiments.jobs import read_job
from stmask.experiments.processes import QueuedProcess

CONTEXT = get_context("forkserver")


@contextmanager
def jobs_forked() -> Iterator[None]:
    """Jobs get their processes by forking, with the variables that torchrun would give to each."""
    CONTEXT.set_forkserver_preload(["stmask.engine.train", "stmask.experiments.jobs", "torchvision"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QueuedProcess, "start", lambda task, **_: ForkedJob(Path(task.command[-1]), task.devices))
        yield


class ForkedJob:
    """What a queue asks of `subprocess.Popen`, of the processes of one job."""

    def __init__(self, folder: Path, count: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self._ranks = [CONTEXT.Process(target=_run, args=(str(folder), n, count, port)) for n in range(count)]
        for rank in self._ranks:
            rank.start()

    @property
    def pid(self) -> int | None:
        return self._ranks[0].pid

    @property
    def returncode(self) -> int:
        return next((rank.exitcode for rank in self._ranks if rank.exitcode), 0)

    def poll(self) -> int | None:
        ended = [rank.exitcode for rank in self._ranks]
        if any(ended):  # the others wait for the one that failed
            self.terminate()
        return None if None in ended else self.returncode

    def terminate(self) -> None:
        for rank in self._ranks:
            if rank.is_alive():
                os.kill(int(rank.pid or 0), signal.SIGTERM)

    def wait(self) -> int:
        for rank in self._ranks:
            rank.join()
        return self.returncode


def _run(folder: str, rank: int, count: int, port: int) -> None:
    names: dict[str, Any] = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
    names |= {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0}
    if count > 1:
        os.environ.update({name: str(value) for name, value in names.items()})

    def work() -> None:
        from stmask.engine.train import train

        cfg, origin = read_job(Path(folder))
        train(cfg, origin=origin)

    sys.exit(exit_status(work))
