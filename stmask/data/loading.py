"""Which process sees which sample, and where an interrupted epoch goes on.

The samplers derive from DistributedSampler only so that Lightning, which would otherwise put its own in their place
under DDP, leaves them alone.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from stmask.errors import DataError
from stmask.structures import Clip


class EpochSampler(DistributedSampler[Any]):
    """Yields (epoch, index): every `world_size`-th sample of an epoch from `rank` on, the samples handed out left out.

    Shuffling is the dataset's own affair, see FramePairDataset.

    Raises:
        ValueError: the dataset's length is no multiple of the world size, so that the ranks would get out of step.
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
    """A DataLoader over an EpochSampler that remembers how far it is: interrupted epochs go on where they stopped.

    Batches count when they are handed out, not when a worker fetches them ahead.

    Attributes:
        seconds_waited: that training has stood still for want of a batch, over all epochs; the start of workers counts.
    """

    seconds_waited = 0.0

    def __iter__(self) -> Iterator[Clip]:  # type: ignore[override]
        try:
            for batch in self._timed():
                if isinstance(self.sampler, EpochSampler):
                    self.sampler.handed_out += len(batch) * self.sampler.num_replicas
                yield batch
        except DataError as error:
            raise DataError(_own_words(error)) from error

    def _timed(self) -> Iterator[Clip]:
        start = perf_counter()
        for batch in super().__iter__():
            self.seconds_waited += perf_counter() - start
            yield batch
            start = perf_counter()

    def state_dict(self) -> dict[str, int]:
        """Plain numbers for a checkpoint."""
        if not isinstance(self.sampler, EpochSampler):
            return {}
        return {"epoch": self.sampler.epoch, "handed_out": self.sampler.handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if isinstance(self.sampler, EpochSampler) and state:
            self.sampler.epoch, self.sampler.handed_out = state["epoch"], state["handed_out"]


class VideoSampler(DistributedSampler[Any]):
    """Every `world_size`-th video from `rank` on: each video on exactly one rank, none repeated to fill up."""

    def __init__(self, dataset: Dataset[Any], *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        self.shard = range(rank, len(dataset), world_size)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.shard)

    def __iter__(self) -> Iterator[int]:
        return iter(self.shard)


def _own_words(error: DataError) -> str:
    """The message without the traceback that torch puts before it when the error comes from a worker process."""
    last = str(error).rstrip().rsplit("\n", 1)[-1]
    return last.partition(f"{type(error).__name__}: ")[2] or last


def start_worker(_worker: int) -> None:
    """Workers are the parallelism; threads of OpenCV inside each would only fight over the cores.

    Signals that mean the end of a run often go to all of its processes. What to do about them is the training's affair,
    which needs its workers until its step is over; workers obey nobody else.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told_by, args=(os.getppid(),), daemon=True).start()
    cv2.setNumThreads(0)  # 1 would wait for ever, in a forked process, for the end of threads that only its parent has


def _end_when_told_by(parent: int) -> None:
    """Waits for a SIGTERM of the process `parent`."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
