"""Instruments of a contender's process: its peak memory, and what this machine can do at this moment."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stmask.benchmarks.record import Conditions, Floor

if TYPE_CHECKING:
    import torch

_REPEATS = 3  # of each instrument after each turn
_COPIED = 64 * 2**20  # bytes, more than the caches hold
_SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices that are multiplied
_MAPS = {"cpu": (1, 256, 48, 80), "cuda": (64, 256, 48, 80)}  # that are convolved
_YARDSTICK_INPUT = (1, 3, 384, 640)
_MIB = 2**20


class Gauge(Protocol):
    """What is measured between a contender's turns."""

    def start(self) -> None:
        """A turn begins."""
        ...

    def stop(self) -> None:
        """A turn is over."""
        ...

    def conditions(self) -> Conditions:
        """Of this process."""
        ...

    def floor(self, flops: float | None, bytes_: float | None) -> Floor:
        """The least that so much work could take."""
        ...

    def memory(self) -> dict[str, float]:
        """MiB, see `Result.memory`."""
        ...

    def yardstick_ms(self) -> float | None:
        """Of a bare ResNet-50; None if not asked for."""
        ...


class PlainGauge:
    """For work without PyTorch, which it does not import: memory, and the speed of copying."""

    def __init__(self) -> None:
        self._start = reset_peak()
        self._peak = 0.0
        self._source, self._target = (np.zeros(_COPIED // 2, np.uint8) for _ in range(2))
        self._copies: list[float] = []

    def start(self) -> None:
        """Counts the peak from here."""
        reset_peak()

    def stop(self) -> None:
        """Takes the peak, then times copies."""
        self._peak = max(self._peak, peak_memory())
        self._copies += [self._timed(self._copy) for _ in range(_REPEATS)]

    def conditions(self) -> Conditions:
        """The processor: everything else is up to the work."""
        return Conditions(device=cpu_name())

    def floor(self, flops: float | None, bytes_: float | None) -> Floor:
        """By the speed of copying; FLOPs are not timed."""
        seconds = statistics.median(self._copies)
        return Floor(flops=flops, bytes=bytes_, copy_ms=None if bytes_ is None else 1000 * seconds * bytes_ / _COPIED)

    def memory(self) -> dict[str, float]:
        """Of the process."""
        return {"start": self._start, "peak": self._peak}

    def yardstick_ms(self) -> float | None:
        """None: there is no network here."""
        return None

    def _copy(self) -> None:
        np.copyto(self._target, self._source)

    def _timed(self, work: Callable[[], Any]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start


class TorchGauge(PlainGauge):
    """For work of PyTorch: products of matrices too, on its device, with its threads and in its precision.

    Args:
        device: where the work is done.
        precision: of its matrix products.
        yardstick: also time a bare ResNet-50 of torchvision.
    """

    def __init__(self, device: torch.device, *, precision: str, yardstick: bool = False) -> None:
        import torch

        self._torch, self._device, self._precision = torch, device, precision
        super().__init__()
        side = _SIDE[device.type]
        self._matrix = torch.rand(side, side, device=device).to(getattr(torch, precision)) / side
        half = {"device": device, "dtype": getattr(torch, precision)}
        layout: Any = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        channels = _MAPS[device.type][1]
        self._maps = torch.rand(_MAPS[device.type], **half).to(memory_format=layout)
        self._kernel = torch.rand(channels, channels, 3, 3, **half).to(memory_format=layout) / channels
        self._bytes = [torch.zeros(_COPIED // 2, dtype=torch.uint8, device=device) for _ in range(2)]
        self._products: list[float] = []
        self._convolutions: list[float] = []
        self._passes: list[float] = []
        self._cuda_peak = 0.0
        self._network: Any = None
        if yardstick:
            from torchvision.models import resnet50

            self._network = resnet50(weights=None).to(device).eval()
            self._input = torch.zeros(_YARDSTICK_INPUT, device=device)
        for work in (self._product, self._convolution, self._copy, self._forward):
            self._timed(work)  # warms up

    def start(self) -> None:
        """Counts the peaks from here."""
        super().start()
        if self._device.type == "cuda":
            self._torch.cuda.reset_peak_memory_stats(self._device)

    def stop(self) -> None:
        """Takes the peaks, then times products, convolutions, copies and forward passes."""
        if self._device.type == "cuda":
            self._cuda_peak = max(self._cuda_peak, self._torch.cuda.max_memory_allocated(self._device) / _MIB)
        super().stop()
        self._products += [self._timed(self._product) for _ in range(_REPEATS)]
        self._convolutions += [self._timed(self._convolution) for _ in range(_REPEATS)]
        if self._network is not None:
            self._passes += [self._timed(self._forward) for _ in range(_REPEATS)]

    def conditions(self) -> Conditions:
        """Of PyTorch in this process."""
        torch = self._torch
        return Conditions(
            device=device_name(self._device),
            precision=self._precision,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            capability=" ".join([torch.backends.cpu.get_cpu_capability(), *_limit()]),
        )

    def floor(self, flops: float | None, bytes_: float | None) -> Floor:
        """By the speed of products, convolutions and of copying, as they were between the turns."""
        by_copy = super().floor(flops, bytes_)
        if flops is None:
            return by_copy
        product = 1000 * statistics.median(self._products) * flops / (2 * self._matrix.shape[0] ** 3)
        each = 2 * self._maps.numel() * self._kernel[0].numel()
        convolution = 1000 * statistics.median(self._convolutions) * flops / each
        return Floor(
            flops=flops,
            bytes=bytes_,
            product_ms=product,
            convolution_ms=convolution,
            copy_ms=by_copy.copy_ms,
        )

    def memory(self) -> dict[str, float]:
        """Of the process, and of its tensors on the GPU."""
        return {**super().memory(), **({"cuda": self._cuda_peak} if self._device.type == "cuda" else {})}

    def yardstick_ms(self) -> float | None:
        """The median of all its forward passes."""
        return 1000 * statistics.median(self._passes) if self._passes else None

    def _product(self) -> None:
        self._torch.mm(self._matrix, self._matrix)

    def _convolution(self) -> None:
        with self._torch.inference_mode():
            self._torch.nn.functional.conv2d(self._maps, self._kernel, padding=1)

    def _copy(self) -> None:
        self._bytes[1].copy_(self._bytes[0])

    def _forward(self) -> None:
        if self._network is not None:
            with self._torch.inference_mode():
                self._network(self._input)

    def _timed(self, work: Callable[[], Any]) -> float:
        self._synchronise()
        start = time.perf_counter()
        work()
        self._synchronise()
        return time.perf_counter() - start

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            self._torch.cuda.synchronize(self._device)


class Clock:
    """Marks moments of a device's work without waiting for it: on a GPU events of its stream."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self._cuda = torch.cuda if device.type == "cuda" else None

    def mark(self) -> Any:
        """This moment."""
        if self._cuda is None:
            return time.perf_counter()
        event = self._cuda.Event(enable_timing=True)
        event.record()
        return event

    def now(self) -> float:
        """Seconds, after all work is done."""
        if self._cuda is not None:
            self._cuda.synchronize()
        return time.perf_counter()

    def milliseconds(self, start: Any, end: Any) -> float:
        """Between two marks, once all work is done."""
        return 1000 * (end - start) if self._cuda is None else float(start.elapsed_time(end))


def device_name(device: torch.device) -> str:
    """The processor's name, from its manufacturer."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return cpu_name()


def cpu_name() -> str:
    """The CPU's name, from its manufacturer."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _limit() -> list[str]:
    """Where oneDNN, which has capabilities of its own, is kept from using all of the CPU's."""
    given = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return [] if given is None else [f"(oneDNN {given})"]


def package_version() -> str:
    """Of stmask as installed."""
    return metadata.version("stmask")


def peak_memory() -> float:
    """MiB that this process held at once: since `reset_peak`, or where that is not possible ever."""
    if (lines := _status()) is not None:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    import resource  # which Windows lacks

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB


def reset_peak() -> float:
    """MiB in use now, from which the peak counts on Linux."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_memory()
    return next(int(line.split()[1]) for line in _status() or () if line.startswith("VmRSS:")) / 1024


def _status() -> list[str] | None:
    try:
        return Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
