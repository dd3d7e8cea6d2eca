"""Distributes samples over processes, and resumes interrupted epochs.

The samplers derive from DistributedSampler only so that Lightning, which would otherwise put its own in their place
under DDP, leaves them alone.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from time import perf_counter
from typing import Any

import cv2
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from stmask.errors import ConfigError, DataError, StmaskError
from stmask.structures import Clip

LOOK_AFTER = 20.0  # seconds without a batch until the workers are checked
_SAID_AFTER, _GIVEN_UP_AFTER = 3, 30  # such checks
_SHARED_MEMORY = "/dev/shm"
_log = logging.getLogger(__name__)


class EpochSampler(DistributedSampler[Any]):
    """Yields (epoch, index): every `world_size`-th sample of an epoch from `rank` on, without those handed out.

    The dataset itself shuffles, see FramePairDataset.

    Raises:
        ValueError: the dataset's length is not a multiple of the world size: the ranks would get out of step.
    """

    def __init__(self, dataset: Dataset[Clip], *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        self.samples = len(dataset)  # type: ignore[arg-type]
        if self.samples % world_size:
            raise ValueError(f"{self.samples} samples cannot be shared equally by {world_size} processes")
        self.handed_out = 0  # samples of this epoch, all ranks together

    def __len__(self) -> int:
        return self.samples // self.num_replicas

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self.handed_out >= self.samples:
            self.epoch, self.handed_out = self.epoch + 1, 0
        epoch = self.epoch
        for index in range(self.handed_out + self.rank, self.samples, self.num_replicas):
            yield epoch, index

    def set_epoch(self, epoch: int) -> None:
        """Does nothing: epochs are counted by what was handed out, since Lightning's number jumps after a resume."""


class PairLoader(DataLoader[Clip]):
    """A DataLoader over an EpochSampler that keeps its position: interrupted epochs go on where they stopped.

    Batches count when they are handed out, not when a worker fetches them ahead. With `timeout` set to `LOOK_AFTER`,
    workers that stop answering are reported after a minute, and given up after ten.

    Attributes:
        seconds_waited: that training has waited for a batch, over all epochs; starting the workers counts.
    """

    seconds_waited = 0.0
    _workers: Sequence[BaseProcess] = ()

    def __iter__(self) -> Iterator[Clip]:  # type: ignore[override]
        try:
            for batch in self._timed():
                if isinstance(self.sampler, EpochSampler):
                    self.sampler.handed_out += len(batch) * self.sampler.num_replicas
                yield batch
        except StmaskError as error:
            raise type(error)(_own_words(error)) from error

    def _timed(self) -> Iterator[Clip]:
        batches = super().__iter__()
        self._workers = list(getattr(batches, "_workers", ()))
        while True:
            start = perf_counter()
            try:
                batch = self._next(batches)
            except StopIteration:
                return
            self.seconds_waited += perf_counter() - start
            yield batch

    def _next(self, batches: Iterator[Clip]) -> Clip:
        for look in range(1, _GIVEN_UP_AFTER + 1):
            try:
                return next(batches)
            except RuntimeError as error:
                if not str(error).startswith("DataLoader timed out"):
                    raise
            if look == _SAID_AFTER:
                _log.warning(
                    "no batch for %.0f s: data.num_workers=%d are waiting for the disk, or hang",
                    look * self.timeout,
                    self.num_workers,
                )
        raise DataError(
            f"no batch for {_GIVEN_UP_AFTER * self.timeout / 60:.0f} minutes: the processes that load data "
            f"(data.num_workers={self.num_workers}) hang; data.num_workers=0 loads in the training process itself; "
            "to go on: resume=auto"
        )

    def close(self) -> None:
        """Ends the workers, even hanging ones."""
        if self._iterator is not None and self._workers:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._iterator = None
        for worker in self._workers:
            if worker.is_alive():
                worker.kill()

    def state_dict(self) -> dict[str, int]:
        """Plain numbers for a checkpoint."""
        if not isinstance(self.sampler, EpochSampler):
            return {}
        return {"epoch": self.sampler.epoch, "handed_out": self.sampler.handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if isinstance(self.sampler, EpochSampler) and state:
            self.sampler.epoch, self.sampler.handed_out = state["epoch"], state["handed_out"]


class VideoSampler(DistributedSampler[Any]):
    """Every `world_size`-th video from `rank` on: each video on exactly one rank, none repeated to fill up.

    A rank without a video gets None once, so that it takes part in collective operations.

    """

    def __init__(self, dataset: Dataset[Any], *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        self.shard = range(rank, len(dataset), world_size)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return max(1, len(self.shard))

    def __iter__(self) -> Iterator[int | None]:
        return iter(self.shard or (None,))


def _own_words(error: StmaskError) -> str:
    """The message without the traceback that torch puts before it when the error comes from a worker process."""
    last = str(error).rstrip().rsplit("\n", 1)[-1]
    return last.partition(f"{type(error).__name__}: ")[2] or last


def start_worker(_worker: int) -> None:
    """Sets up a worker process, without OpenCV threads, which would only compete for the cores.

    Signals that end a run are often sent to all of its processes. The training process decides what to do about them,
    and needs its workers until its step is over, so workers ignore signals from anyone else.
    """
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):  # Windows lacks two of them
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told_by, args=(os.getppid(),), daemon=True).start()
    Queue._on_queue_feeder_error = _send_reason  # type: ignore[attr-defined]
    cv2.setNumThreads(0)  # 1 would wait forever, in a forked process, for threads that only its parent has


def _end_when_told_by(parent: int) -> None:
    """Waits for a SIGTERM of the process `parent`."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def _send_reason(queue: Any, error: Exception, item: tuple[int, Any]) -> None:
    """Sends an error in place of a batch that can't be sent, which would otherwise be awaited forever."""
    try:
        raise _unsent(error) from error
    except StmaskError:
        queue.put((item[0], ExceptionWrapper(where="in a process that loads data")))  # type: ignore[no-untyped-call]


def _unsent(error: Exception) -> StmaskError:
    number = getattr(error, "errno", None)
    if number == errno.EMFILE or "Too many open files" in str(error):
        return ConfigError(
            "too many open files to pass a batch: raise the limit (`ulimit -n`), or lower data.num_workers"
        )
    if number == errno.ENOSPC or "shared memory" in str(error):
        return no_shared_memory()
    reason = " ".join(str(error).split()) or type(error).__name__
    return StmaskError(f"a batch cannot be passed to the training process ({reason}): give data.num_workers=0")


def no_shared_memory() -> ConfigError:
    """The error for a batch that does not fit into shared memory."""
    try:
        room = f" ({shutil.disk_usage(_SHARED_MEMORY).total / 2**20:.0f} MiB)"
    except OSError:
        room = ""
    return ConfigError(
        f"no room in {_SHARED_MEMORY}{room}, through which worker processes pass batches: give "
        "data.num_workers=0 or a smaller data.batch_size, or make it larger (docker run --shm-size=8g)"
    )
