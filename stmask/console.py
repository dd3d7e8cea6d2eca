"""What an stmask process prints on the terminal, and its exit status: one line for an error that the user can fix."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from stmask.errors import INTERRUPTED, ErrorList, Interrupted, StmaskError
from stmask.extras import DISTRIBUTION, missing
from stmask.progress import ProgressLines

TRACEBACK_VARIABLE = f"{DISTRIBUTION.upper().replace('-', '_')}_TRACEBACK"  # STMASK_TRACEBACK
_USER_ERROR = 2
_CREDENTIALS = re.compile(r"([a-z][a-z0-9+.-]*:/{1,2})(?!USER:PASSWORD@)[^/\s'\"]*@", re.IGNORECASE)
_GREETERS = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero")
_EXPECTED_WARNINGS = (
    "Experiment logs directory",  # a run's folder has its log before Lightning's first line
    r"`isinstance\(treespec, LeafSpec\)`",  # Lightning's own use of torch
    "Checkpoint directory .* exists and is not empty",  # of the run being resumed
    r"It is recommended to use `self\.log\(.*sync_dist",  # validation metrics already cover all processes
    "Grad strides do not match bucket view strides",  # 1x1 kernels in channels_last: the same memory
    "Total length of `list` across ranks is zero",  # the validation loader's length is unknown
    "The `srun` command is available on your system but is not used",  # a login node; a process that sweeps start
    "The number of training batches",  # fewer than log_every_n_steps: epoch metrics are logged anyway
)


def exit_status(call: Callable[[], int | None]) -> int:
    """Calls a main function and returns its process's exit status: 0, 2 for the user's errors, 130 or 143 if stopped.

    `STMASK_TRACEBACK=1` lets every error through with its traceback.
    """
    _speak_plainly()
    _print_what_the_terminal_can()
    try:
        with _terminable():
            return int(call() or 0)
    except KeyboardInterrupt:
        return _interrupted()
    except Interrupted as exit_:
        return _interrupted(int(exit_.code or 0))
    except SystemExit as exit_:  # how Lightning leaves a run that must stop at once
        if _follows_interrupt(exit_):
            return _interrupted()
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes stdout once more
        return 1
    except Exception as error:
        if _follows_interrupt(error):
            return _interrupted()
        message = None if os.environ.get(TRACEBACK_VARIABLE) == "1" else _explain(error)
        if message is None:
            raise
        shown = message if isinstance(error, ErrorList) else "; ".join(message.splitlines())
        print(f"{DISTRIBUTION}: error: {without_passwords(shown)}", file=sys.stderr)
        return _USER_ERROR


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, with cleanup. A second one ends it at once."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Interrupted(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def ending_well(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM call `stop`, for the block to end by itself; a second one ends it at once, as elsewhere.

    Yields:
        The signals that came, by their numbers.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, _: FrameType | None) -> None:
        came.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)
        stop()

    for number in before:
        signal.signal(number, end)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr, or a line a minute if that is no terminal; yields what advances it by one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        lines = ProgressLines("done", total, what, wanted=not console.is_terminal)

        def advance() -> None:
            progress.advance(task)
            lines.advance()

        yield advance


def without_passwords(text: str) -> str:
    """A text whose addresses have no user and password, whoever put them there."""
    return _CREDENTIALS.sub(r"\1", text)


def _interrupted(status: int = INTERRUPTED) -> int:
    if status:  # only the first of several processes prints
        print(f"{DISTRIBUTION}: interrupted", file=sys.stderr)
    return status


def _follows_interrupt(error: BaseException | None) -> bool:
    """Whether the error only comes from closing a file or process after Ctrl-C."""
    seen: set[int] = set()  # an error that was raised again may be its own cause
    while error is not None and id(error) not in seen and not isinstance(error, KeyboardInterrupt):
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt)


def _speak_plainly() -> None:
    """Logs plain lines to stderr (Hydra adds a file), without greetings, tips and expected warnings."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in _GREETERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def _print_what_the_terminal_can() -> None:
    """Prints characters that the terminal's encoding lacks as escapes, so that no text can end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _explain(error: Exception) -> str | None:
    """One line for an error that the user can fix; None for a bug, which deserves its traceback."""
    if isinstance(error, StmaskError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, ImportError):
        where = f": {error.filename}" if error.filename else ""
        what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        return f"{what}{where} ({TRACEBACK_VARIABLE}=1 shows where it happened)"
    if needed := missing(error):
        return f"this {needed}"
    kind = type(error)
    if kind.__module__.split(".")[0] in ("hydra", "omegaconf"):
        from stmask.config import explain

        explained = explain(error)
        return None if explained is None else str(explained)
    if kind.__name__ == "MisconfigurationException":  # Lightning's, for a trainer that can't work here
        return f"trainer: {error}"
    if kind.__name__ == "OutOfMemoryError":  # torch's; importing torch to name it would cost seconds
        return f"the device ran out of memory; a smaller batch or image size needs less ({str(error).splitlines()[0]})"
    return None
