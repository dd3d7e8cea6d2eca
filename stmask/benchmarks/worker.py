"""A contender's process: builds what is to be measured, works when it is its turn, and reports at the end.

It reads lines of JSON from its input and writes lines of JSON to its output: `turns` is the other side.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple, Protocol

from stmask.benchmarks.gauge import Gauge
from stmask.errors import StmaskError

KINDS = ("inference", "train", "correlation", "predict", "metric", "data")


class Sample(NamedTuple):
    """The time of one unit of work, and of its stages, in milliseconds."""

    milliseconds: float
    stages: Mapping[str, float]


class Work(NamedTuple):
    """What one unit of work is at least; see `Floor`."""

    flops: float | None
    bytes: float | None


class Contender(Protocol):
    """Something to measure. It is made from the plain values of its command, and may take its time for that.

    Attributes:
        unit: of work.
        stages: what each stage times, in words.
    """

    unit: str
    stages: Mapping[str, str]

    def serve(self, turns: Turns) -> Outcome:
        """Calls `turns.ready`, works in every turn, and says at the end what it was."""
        ...


class Outcome(NamedTuple):
    """What a contender knows at the end."""

    work: Work
    details: Mapping[str, float]
    note: str = ""


class Turns:
    """A contender's turns: iterating gives how many units of work to do in each, `give` takes their times."""

    def __init__(self, commands: IO[str], answers: IO[str]) -> None:
        self._commands, self._answers = commands, answers
        self.gauge: Gauge | None = None
        self.samples: list[Sample] = []

    def ready(self, gauge: Gauge, *, seconds: float) -> None:
        """The contender is loaded and warm.

        Args:
            gauge: of this process.
            seconds: that a unit of work takes, about.
        """
        self.gauge = gauge
        self.answer({"seconds": seconds})

    def __iter__(self) -> Iterator[int]:
        while (count := int(json.loads(self._commands.readline() or "0"))) > 0:
            assert self.gauge is not None
            self.gauge.start()
            yield count

    def give(self, samples: Sequence[Sample]) -> None:
        """The turn is over."""
        assert self.gauge is not None
        self.samples += samples
        self.gauge.stop()
        self.answer({})

    def answer(self, message: Mapping[str, Any]) -> None:
        """Sends a line to the other side."""
        print(json.dumps(message), file=self._answers, flush=True)


def main() -> None:
    """Serves the contender that the first line of the input describes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever libraries print is not an answer
    described = json.loads(sys.stdin.readline())
    turns = Turns(sys.stdin, answers)
    try:
        contender: Contender = _contender(described["kind"], described["arguments"])
        outcome = contender.serve(turns)
    except StmaskError as error:
        turns.answer({"error": str(error), "type": type(error).__name__})
        return
    gauge = turns.gauge
    assert gauge is not None
    names = dict.fromkeys(name for sample in turns.samples for name in sample.stages)
    turns.answer(
        {
            "unit": contender.unit,
            "stages": dict(contender.stages),
            "result": {
                "conditions": _fields(gauge.conditions()),
                "samples": [sample.milliseconds for sample in turns.samples],
                "stages": {n: statistics.median(s.stages.get(n, 0.0) for s in turns.samples) for n in names},
                "floor": _fields(gauge.floor(*outcome.work)),
                "memory": gauge.memory(),
                "yardstick_ms": gauge.yardstick_ms(),
                "details": dict(outcome.details),
                "note": outcome.note,
            },
        }
    )


def _contender(kind: str, arguments: Mapping[str, Any]) -> Contender:
    made: Contender = importlib.import_module(f"stmask.benchmarks.{kind}").Contender(**arguments)
    return made


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
