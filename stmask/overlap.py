"""Work that goes on in threads while the main thread goes on: reading ahead, and handing on what is done.

NumPy, OpenCV, FFmpeg and PyTorch release the interpreter while they compute, so such threads do run at the same time.
Order is kept, few items are in memory at a time, an error is raised in the main thread, and no thread is left behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_END = object()


def read_ahead(items: Iterable[T], *, most: int, name: str) -> Generator[T, None, None]:
    """The items, each taken from its iterator in a thread while up to `most` that came before it wait to be used.

    Args:
        name: of the thread.
    """
    iterator = iter(items)
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix=name) as reader:
        try:
            while True:
                while len(waiting) <= most:
                    waiting.append(reader.submit(next, iterator, _END))
                if (item := waiting.popleft().result()) is _END:
                    return
                yield item
                del item
        finally:
            reader.shutdown(cancel_futures=True)
            if (close := getattr(iterator, "close", None)) is not None:
                close()


class Stage:
    """A thread that does what it is given, one thing after the other; use it in a `with` block.

    The block waits at its end until all is done. What goes wrong in the thread is raised where the next thing is given,
    or at the end; what was given before an error elsewhere is still done, as if there were no thread, unless that is an
    interruption.
    """

    def __init__(self, name: str, *, most: int = 2) -> None:
        """
        Args:
            name: of the thread.
            most: so many things may wait to be done; who gives it more waits itself.
        """
        self._most = most
        self._given: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    def do(self, work: Callable[[], None]) -> None:
        """Has the thread do this, which takes what it needs with it."""
        while self._given and (len(self._given) > self._most or self._given[0].done()):
            self._wait()
        self._given.append(self._pool.submit(work))

    def finish(self) -> None:
        """Waits until all is done."""
        while self._given:
            self._wait()

    def _wait(self) -> None:
        try:
            self._given.popleft().result()
        except BaseException:
            while self._given:
                self._given.pop().cancel()
            raise

    def __enter__(self) -> Stage:
        threads = torch.get_num_threads()
        self.do(_use_one_core)
        self.finish()
        torch.set_num_threads(threads)  # of threads to come, too
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None or issubclass(kind, Exception):
                self.finish()
        finally:
            self._pool.shutdown(cancel_futures=True)


def _use_one_core() -> None:
    """For PyTorch in this thread alone: a second team of threads would keep the network's from its cores."""
    torch.get_num_threads()  # else the first operation would undo it
    torch.set_num_threads(1)
