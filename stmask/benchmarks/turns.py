"""Lets contenders take turns, so that other load on the machine affects them equally, and gathers their results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import stmask
from stmask import errors
from stmask.benchmarks.gauge import package_version
from stmask.benchmarks.record import Report, Result
from stmask.errors import ConfigError, StmaskError

_TURN_SECONDS = 2.0  # so long a turn lasts, about
_MOST = 25  # units of work in a turn
_PATIENCE = 20  # seconds, for git and for a process to end
# the folder comes before everything else on the path: what lies in the working folder is not what is measured
_START = "import sys; sys.path.insert(0, sys.argv.pop()); from stmask.benchmarks.worker import main; main()"
HERE = Path(stmask.__file__).resolve().parents[1]


@dataclass(frozen=True)
class Entry:
    """A contender to be.

    Attributes:
        name: in the table.
        arguments: plain values for the `Contender` of its kind.
        folder: that holds the package to measure.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = HERE


def measure(
    kind: str,
    entries: Sequence[Entry],
    *,
    repeats: int,
    beside: str | os.PathLike[str] | None = None,
    on_turn: Callable[[], None] = lambda: None,
) -> Report:
    """Starts the contenders, each in a process of its own, lets them take turns and ends them.

    Args:
        kind: a module of this package.
        entries: what to measure.
        repeats: units of work to time for each.
        beside: another checkout, with this folder in it: each entry is also measured there, and comes first.
        on_turn: called after each turn.

    Raises:
        StmaskError: what a contender says is wrong, or one that died.
    """
    if repeats < 1:
        raise ConfigError(f"--repeats must be at least 1, got {repeats}")
    if beside is not None:
        folder = Path(beside).resolve()
        if not (folder / "stmask" / "benchmarks" / "worker.py").is_file():
            raise ConfigError(
                f"--beside {beside} is not a checkout with stmask/benchmarks in it: tools/against_commit.sh makes one"
            )
        entries = [one for entry in entries for one in (Entry(entry.name, entry.arguments, folder), entry)]
    with ExitStack() as ending:
        contenders = [ending.enter_context(_running(kind, entry)) for entry in entries]
        slowest = max(contender.ready() for contender in contenders)
        size = max(1, min(_MOST, int(_TURN_SECONDS / max(slowest, 1e-9))))
        for turn, done in enumerate(range(0, repeats, size)):
            first = turn % len(contenders)
            for contender in (*contenders[first:], *contenders[:first]):
                contender.take_turn(min(size, repeats - done))
                on_turn()
        answers = [contender.finish() for contender in contenders]
    results = [_result(entry, answer["result"]) for entry, answer in zip(entries, answers)]
    return Report(kind=kind, unit=answers[-1]["unit"], stages=answers[-1]["stages"], results=results)


def _result(entry: Entry, values: Mapping[str, Any]) -> Result:
    floor = {**values["floor"]}
    return Result.from_dict({**values, "floor": floor, "name": entry.name, "code": code_in(entry.folder)})


def code_in(folder: Path) -> str:
    """The commit of a checkout, with a mark where its files were changed; else the version of the package."""
    tracked = _git(folder, "ls-files", "--error-unmatch", "stmask/__init__.py")
    commit = None if tracked is None else _git(folder, "rev-parse", "--short=10", "HEAD")
    if commit is None:
        return package_version()
    return commit + (" changed" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        ran = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip()


@contextmanager
def _running(kind: str, entry: Entry) -> Iterator[_Running]:
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, str(entry.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True,
        )  # fmt: skip
        running = _Running(process, said, entry.name)
        try:
            running.send({"kind": kind, "arguments": dict(entry.arguments)})
            yield running
        finally:
            process.kill()
            process.communicate()


class _Running:
    """A contender's process, seen from this side."""

    def __init__(self, process: subprocess.Popen[str], said: IO[str], name: str) -> None:
        self._process, self._said, self._name = process, said, name

    def send(self, message: Any) -> None:
        assert self._process.stdin is not None
        try:
            print(json.dumps(message), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._died() from None

    def ready(self) -> float:
        """Waits until it is loaded and warm; seconds that a unit of work takes."""
        return float(self._answer()["seconds"])

    def take_turn(self, count: int) -> None:
        self.send(count)
        self._answer()

    def finish(self) -> dict[str, Any]:
        self.send(0)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise getattr(errors, answer["type"], StmaskError)(answer["error"])
        return answer

    def _died(self) -> StmaskError:
        self._process.wait()
        self._said.seek(0)
        last = (self._said.read().strip() or f"exit status {self._process.returncode}").splitlines()[-1]
        return StmaskError(f"the process that measures {self._name} ended: {last}")
