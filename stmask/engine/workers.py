"""Items of a dataset through segmenters: one after the other here, or shared among processes of which each has one.

A process takes the next item when it is done with one, so that none waits for a long video. What comes of an item
depends on the item alone: the results are those of one process, in the order of the dataset.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess, parent_process
from time import perf_counter
from typing import Any, NoReturn, Protocol

import torch

from stmask.data import VideoClip, VideoClips
from stmask.engine.processes import exit_in_words
from stmask.errors import StmaskError
from stmask.tasks import Segmenter, Task

_READY, _FRAME = "ready", "frame"  # what a worker says besides entries and errors
_Entries = list[dict[str, Any]]
_Done = tuple[_Entries, float]  # of an item, and the seconds that it took


class MakesSegmenter(Protocol):
    """A function that can be pickled."""

    def __call__(self, *, device: torch.device) -> Segmenter: ...


@dataclass(frozen=True, slots=True)
class Work:
    """What is done with each item.

    Attributes:
        task: says how an item is run and recorded.
        items: of a dataset.
        category_ids: the dataset's ids of the labels, see `Task.entries`.
        segmenter: makes one.
        batch: items that a process runs side by side.
    """

    task: Task
    items: VideoClips
    category_ids: Sequence[int | None]
    segmenter: MakesSegmenter
    batch: int = 1

    def entries(
        self, segmenter: Segmenter, places: Iterable[int], on_frame: Callable[[], None]
    ) -> Iterator[tuple[int, _Done]]:
        """The entries of a results.json for the items at these places, each with its place, as they are done.

        The seconds of an item are those from when it was asked for until it was done, also where others ran beside it.
        """
        started: dict[int, float] = {}

        def items() -> Iterator[VideoClip]:
            for place in places:
                started[place] = perf_counter()
                yield self.items[place]

        for item, result in self.task.run(segmenter, items(), batch=self.batch, on_frame=on_frame):
            entries = self.task.entries(result, self.category_ids)
            yield item.index, (entries, perf_counter() - started[item.index])


def run_all(
    work: Work, devices: Sequence[torch.device], *, on_frame: Callable[[], None]
) -> tuple[_Entries, float, list[float]]:
    """The entries of all items in their order, the seconds of all once the segmenters were ready, and those of each.

    Args:
        devices: one for each process; with one alone everything happens in this process.
        on_frame: called after each frame, whichever process had it.

    Raises:
        StmaskError: a process ended; or what an item raises. The other processes are ended then.
    """
    places = range(len(work.items))
    devices = devices[: max(1, len(places))]
    if len(devices) == 1:
        segmenter = work.segmenter(device=devices[0])
        start = perf_counter()
        by_place = dict(work.entries(segmenter, places, on_frame))
        found = [by_place[place] for place in places]
    else:
        with ExitStack() as stack:
            workers: list[_Worker] = []
            for number, device in enumerate(devices, start=1):
                workers.append(_Worker(work, device, number=f"{number} of {len(devices)}"))
                stack.callback(workers[-1].end)
            for worker in workers:
                worker.receive()  # that it is ready
            start = perf_counter()
            found = _shared(workers, work, on_frame)
    seconds = perf_counter() - start
    return [entry for entries, _ in found for entry in entries], seconds, [of_item for _, of_item in found]


def _shared(workers: Sequence[_Worker], work: Work, on_frame: Callable[[], None]) -> list[_Done]:
    found: list[_Done] = [([], 0.0) for _ in range(len(work.items))]
    todo = iter(range(len(found)))
    left = len(found)
    for _ in range(work.batch):
        for worker in workers:
            worker.send(next(todo, None))
    by_pipe: dict[Any, _Worker] = {worker.pipe: worker for worker in workers}
    while left:
        for pipe in wait(list(by_pipe)):
            worker = by_pipe[pipe]
            if (said := worker.receive()) == _FRAME:
                on_frame()
                continue
            for place, done in said.items():
                found[place] = done
            left -= len(said)
            worker.send(next(todo, None))
    return found


class _Worker:
    """A process, seen from the one that started it."""

    def __init__(self, work: Work, device: torch.device, *, number: str) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would have this process's threads and CUDA half
        self.pipe, other = context.Pipe()
        self._number = number
        arguments = (work, device, torch.get_num_threads(), other)
        self._process: BaseProcess = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        other.close()  # or its end would not be seen

    def send(self, place: int | None) -> None:
        """The place of another item to do; None: there are no more."""
        try:
            self.pipe.send(place)
        except OSError:
            self._raise_ended()

    def receive(self) -> Any:
        """What it says next; an error that it met is raised here."""
        try:
            said = self.pipe.recv()
        except (EOFError, OSError):
            self._raise_ended()
        if isinstance(said, tuple):
            error, where = said
            raise error from _Elsewhere(where)
        return said

    def _raise_ended(self) -> NoReturn:
        self._process.join()
        how = exit_in_words(self._process.exitcode or 0)
        raise StmaskError(f"process {self._number} {how}, so nothing is written")

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(work: Work, device: torch.device, threads: int, pipe: Connection) -> None:
    """The life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it goes to all processes, and the first decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        torch.set_num_threads(threads)  # another number may round otherwise
        segmenter = work.segmenter(device=device)
        pipe.send(_READY)
        places = iter(pipe.recv, None)
        for place, done in work.entries(segmenter, places, lambda: pipe.send(_FRAME)):
            pipe.send({place: done})
        threading.Event().wait()  # to be ended with the others
    except Exception as error:
        pipe.send(_as_passed_on(error))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _as_passed_on(error: Exception) -> tuple[Exception, str]:
    """The error as another process can raise it, and its traceback here."""
    try:
        passed = pickle.loads(pickle.dumps(error))
    except Exception:  # not every class can be made again of its arguments
        passed = StmaskError(str(error)) if isinstance(error, StmaskError) else RuntimeError(repr(error))
    return passed, traceback.format_exc()


class _Elsewhere(Exception):
    """The traceback of an error in another process."""
