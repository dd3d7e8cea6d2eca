"""What a benchmark says: one record for all kinds, and its JSON."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from stmask.errors import DataError
from stmask.files import read_json, write_json

FORMAT = 1  # of the JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What must be equal for two measurements to be compared; None where it does not matter.

    Attributes:
        device: name of the processor or GPU.
        precision: of the network.
        threads: of PyTorch on the CPU.
        torch: its version.
        capability: vector instructions of the CPU that PyTorch uses.
    """

    device: str
    precision: str | None = None
    threads: int | None = None
    torch: str | None = None
    capability: str | None = None

    def __str__(self) -> str:
        threads = None if self.threads is None else "1 thread" if self.threads == 1 else f"{self.threads} threads"
        torch = None if self.torch is None else f"torch {self.torch}"
        return ", ".join(word for word in (self.device, self.capability, self.precision, threads, torch) if word)

    def differences(self, other: Conditions) -> list[str]:
        """A text for each condition that is another one: "threads 2 and 1"."""
        mine, its = asdict(self), asdict(other)
        return [f"{name} {mine[name]} and {its[name]}" for name in mine if mine[name] != its[name]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The least that the work could take on this device: its arithmetic or its memory traffic at full speed.

    Attributes:
        flops: floating point operations of one unit of work, as carried out (a multiplication and an addition are two).
        bytes: that one unit must at least read and write.
        product_ms: a matrix product of as many FLOPs, as timed between the turns of the same process.
        convolution_ms: 3 x 3 convolutions of as many, which on some CPUs are faster than matrix products.
        copy_ms: a copy of so many bytes, read and written together.
    """

    flops: float | None = None
    bytes: float | None = None
    product_ms: float | None = None
    convolution_ms: float | None = None
    copy_ms: float | None = None

    @property
    def milliseconds(self) -> float | None:
        """The arithmetic by the faster of its ways, or the copy, whichever takes longer; None where none is known."""
        arithmetic = min((time for time in (self.product_ms, self.convolution_ms) if time is not None), default=None)
        return max((time for time in (arithmetic, self.copy_ms) if time is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One contender's measurement.

    Attributes:
        name: of the contender.
        code: version of the package that was measured, its commit where it is a checkout.
        conditions: of the measurement.
        samples: milliseconds of each unit of work.
        stages: their medians by stage, in milliseconds.
        floor: the least that it could take.
        memory: MiB: "peak" of the process while it worked, "start" before that, "cuda" the GPU's peak.
        yardstick_ms: a bare ResNet-50 in float32 on a 384 x 640 image, in the same process; None if not asked for.
        details: numbers that say what was worked on, such as "objects" per frame.
        note: in words, such as where the weights come from.
    """

    name: str
    code: str
    conditions: Conditions
    samples: tuple[float, ...]
    stages: Mapping[str, float]
    floor: Floor
    memory: Mapping[str, float]
    yardstick_ms: float | None = None
    details: Mapping[str, float]
    note: str = ""

    @property
    def median(self) -> float:
        """Of the samples, in milliseconds."""
        return statistics.median(self.samples)

    def percentile(self, percent: float) -> float:
        """So many per cent of the samples take at most this (interpolated), in milliseconds."""
        ordered, place = sorted(self.samples), percent / 100 * (len(self.samples) - 1)
        low = ordered[int(place)]
        return low + (ordered[min(int(place) + 1, len(ordered) - 1)] - low) * (place - int(place))

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON: the fields, and what follows from the samples."""
        spread = {"median": self.median, "p10": self.percentile(10), "p90": self.percentile(90)}
        floor = {**asdict(self.floor), "milliseconds": self.floor.milliseconds}
        return {**asdict(self), "samples": list(self.samples), "floor": floor, "milliseconds": spread}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Result:
        """The inverse of `to_dict`; TypeError or KeyError for what is not."""
        own = {field.name: values[field.name] for field in fields(Result)}
        floor = {field.name: values["floor"][field.name] for field in fields(Floor)}
        parts = {"conditions": Conditions(**own["conditions"]), "floor": Floor(**floor)}
        return Result(**{**own, **parts, "samples": tuple(float(sample) for sample in own["samples"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A benchmark's results.

    Attributes:
        kind: of the benchmark: "inference", ...
        unit: of work, what one sample is the time of.
        stages: what each stage times, in words.
        results: of the contenders.
    """

    kind: str
    unit: str
    stages: Mapping[str, str]
    results: Sequence[Result]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the JSON."""
        results = [result.to_dict() for result in self.results]
        whole = {"format": FORMAT, "kind": self.kind, "unit": self.unit, "stages": dict(self.stages)}
        write_json(path, {**whole, "results": results}, indent=1)

    @staticmethod
    def read(path: str | os.PathLike[str], *, kind: str) -> Report:
        """The JSON of a benchmark.

        Args:
            kind: that it must be of.

        Raises:
            DataError: another kind or format of benchmark, or something else.
        """
        content = read_json(path)
        if not isinstance(content, dict) or "format" not in content or "kind" not in content:
            raise DataError(f"{path} was not written by stmask benchmark {kind} --json")
        if content["format"] != FORMAT:
            raise DataError(f"{path} has format {content['format']!r}, this version reads {FORMAT}: measure again")
        if content["kind"] != kind:
            raise DataError(f"{path} is of stmask benchmark {content['kind']}, it cannot be compared with {kind}")
        try:
            results = tuple(Result.from_dict(result) for result in content["results"])
            return Report(kind=kind, unit=content["unit"], stages=content["stages"], results=results)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} is damaged ({type(error).__name__}: {error}): measure again") from error
