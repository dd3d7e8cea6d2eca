"""Being told to stop: by the user, or by a cluster that wants its machine back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytorch_lightning as pl
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

from stmask.engine.run_folder import is_first_process
from stmask.errors import Interrupted

# preemption and the end of a time limit are announced by one of these, which one is up to the cluster
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
_TERMINATED, _CTRL_C = 128 + signal.SIGTERM, 128 + signal.SIGINT


class StopRequest:
    """Whether this process was told to stop.

    Attributes:
        signal: the first that came; None as long as there is none.
        patient: a signal waits for the end of the step (see `ask`); otherwise it ends the process's work at once.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.patient = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the signals for the length of the block; they can be taken in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def agreed(self, trainer: pl.Trainer) -> bool:
        """Whether any process of the training was told to stop. Under DDP every process must ask, after every step."""
        return bool(trainer.strategy.reduce_boolean_decision(self.signal is not None, all=False))

    def interrupt(self) -> Interrupted:
        """What to raise. Only the first process's exit status says that the run is not finished."""
        if not is_first_process():
            return Interrupted(0)
        return Interrupted(_CTRL_C if self.signal == signal.SIGINT else _TERMINATED)

    def _take(self, number: int, frame: FrameType | None) -> None:
        again, self.signal = self.signal is not None, self.signal or signal.Signals(number)
        if self.patient and not (again and number == signal.SIGINT):
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise self.interrupt()


class NoSignals(_SignalConnector):
    """In the place of Lightning's, whose handlers talk to the other processes from within a step."""

    def register_signal_handlers(self) -> None:
        """Leaves the signals to `StopRequest`."""
