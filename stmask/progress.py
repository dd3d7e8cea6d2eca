"""Lines that say how far long work is, once a minute, for logs and pipes where no bar can be seen."""

from __future__ import annotations

import logging
import time

EVERY = 60.0  # seconds
_log = logging.getLogger(__name__)


class ProgressLines:
    """Logs "training: 340 of 2000 steps, about 9 minutes left", at most once in `EVERY` seconds.

    Args:
        what: is being done.
        total: of the things that are counted; None where it is not known.
        things: that are counted.
        wanted: otherwise nothing is logged: a bar is seen.
    """

    def __init__(self, what: str, total: int | None, things: str, *, wanted: bool = True) -> None:
        self._what, self._total, self._things, self._wanted = what, total, things, wanted
        self._begun = self._said = time.monotonic()
        self._first: int | None = None
        self._counted = 0

    def advance(self) -> None:
        """One more is done."""
        self._counted += 1
        self.reached(self._counted)

    def reached(self, done: int, more: str = "") -> None:
        """So many are done; `more` is added to the line."""
        if not self._wanted:
            return
        now = time.monotonic()
        if self._first is None:  # a run that goes on did not begin with 0
            self._first, self._begun = done, now
        if now - self._said < EVERY:
            return
        self._said = now
        of = f" of {self._total}" if self._total else ""
        _log.info("%s: %d%s %s%s%s", self._what, done, of, self._things, more and f", {more}", self._left(done, now))

    def _left(self, done: int, now: float) -> str:
        assert self._first is not None
        if not self._total or done <= self._first:
            return ""
        minutes = (now - self._begun) / (done - self._first) * (self._total - done) / 60
        return f", about {minutes:.0f} minutes left" if minutes >= 1.5 else ", about a minute left"
