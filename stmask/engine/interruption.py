"""Being told to stop: by the user, or by a cluster that wants its machine back."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytorch_lightning as pl

from stmask.errors import Interrupted

# preemption and the end of a time limit are announced by one of these, which one is up to the cluster
_NAMES = ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))  # Windows lacks two of them
_TERMINATED, _CTRL_C = 128 + signal.SIGTERM, 128 + signal.SIGINT
_ECHO = 1.0  # seconds in which another signal says the same again: launchers pass on what the whole group was sent
_HEARD, _ENDED = 2.0, 10.0  # seconds that the main thread has to take a signal that ends it, and to end


class StopRequest:
    """Whether this process was told to stop.

    A first signal waits for the end of the step, once there are steps; a second one ends the process's work at once.
    Python runs a handler only when the main thread is back from the call that it is in; where that hangs, a thread
    ends the process in its place.

    Args:
        first: this process speaks for its run (see `stmask.engine.processes`).
        end_now: called, from that thread, with the exit status; does not return.

    Attributes:
        signal: the first that came; None as long as there is none.
        patient: a signal waits for the end of the step (see `agreed`); otherwise it ends the process's work at once.
    """

    def __init__(self, *, first: bool = True, end_now: Callable[[int], None] = os._exit) -> None:
        self.signal: signal.Signals | None = None
        self.patient = False
        self._first, self._end_now = first, end_now
        self._since: float | None = None  # when the first signal came
        self._ending = False  # the main thread has taken a signal that ends it

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the signals for the length of the block; they can be taken in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            with self._watched():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def agreed(self, trainer: pl.Trainer) -> bool:
        """Whether any process of the run was told to stop. Under DDP every process must ask, after every step."""
        return bool(trainer.strategy.reduce_boolean_decision(self.signal is not None, all=False))

    def interrupt(self) -> Interrupted:
        """What to raise. Only the first process's exit status says that the run is not finished."""
        return Interrupted(self._status(self.signal) if self._first else 0)

    @staticmethod
    def _status(number: int | None) -> int:
        return _CTRL_C if number == signal.SIGINT else _TERMINATED

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again = self._is_another(number, self._since, now)
        if self.signal is None:
            self.signal, self._since = signal.Signals(number), now
        if self.patient and not again:
            return
        self._ending = True
        if number == signal.SIGINT and self._first:  # the others end without a word
            raise KeyboardInterrupt
        raise self.interrupt()

    @staticmethod
    def _is_another(number: int, since: float | None, now: float) -> bool:
        return since is not None and (number == signal.SIGINT or now - since > _ECHO)

    # the thread

    @contextmanager
    def _watched(self) -> Iterator[None]:
        ours, its = socket.socketpair()
        ours.setblocking(False)
        before = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
        _sockets.add(ours.fileno())
        thread = threading.Thread(target=self._watch, args=(its,), daemon=True, name="stmask-signals")
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            _sockets.discard(ours.fileno())
            ours.shutdown(socket.SHUT_RDWR)  # a forked process may hold it open
            ours.close()
            thread.join()
            its.close()

    def _watch(self, its: socket.socket) -> None:
        """Reads the numbers of the signals, which arrive whatever the main thread does, until there are no more."""
        since: float | None = None  # when the first came
        until: float | None = None  # when the main thread must have taken the last, or have ended
        number, second, ending = 0, False, False
        while True:
            its.settimeout(None if until is None else max(0.01, until - time.monotonic()))
            try:
                if not (numbers := its.recv(64)):
                    return
            except TimeoutError:
                heard = self._ending if second else self.signal is not None
                if ending or not heard:
                    self._end_now(self._status(number))
                ending = self._ending
                until = time.monotonic() + _ENDED if ending else None  # None: it heard, and waits for its step
                continue
            for number in (number for number in numbers if number in SIGNALS):
                now = time.monotonic()
                if self._is_another(number, since, now):
                    second, until = True, min(until or math.inf, now + _HEARD)
                elif since is None and not self.patient:
                    until = now + _ENDED
                since = now if since is None else since


_sockets: set[int] = set()


def _forget_sockets() -> None:
    """A forked process (of a data loader) would tell its parent of its own signals."""
    if _sockets:
        signal.set_wakeup_fd(-1)
    _sockets.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_sockets)
