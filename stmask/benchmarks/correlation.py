"""The local correlation of two feature maps, forward and backward, by one backend."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from stmask.benchmarks.gauge import Clock, TorchGauge
from stmask.benchmarks.worker import Outcome, Sample, Turns, Work
from stmask.errors import ConfigError
from stmask.loading import pick_device
from stmask.ops.correlation import correlate


class Contender:
    """A backend.

    Args:
        backend: of `stmask.ops.correlation.correlate`.
        shape: (B, C, h, w) of both maps.
        size: side of the window.
        device: auto, cpu, cuda or cuda:N.
    """

    unit = "call"
    stages: Mapping[str, str] = {"forward": "the correlation", "backward": "its gradient for both maps"}

    def __init__(self, *, backend: str, shape: list[int], size: int, device: str) -> None:
        self._backend, self._size, self._device = backend, size, pick_device(device)
        torch.manual_seed(0)
        self._maps = [torch.randn(shape, device=self._device, requires_grad=True) for _ in range(2)]
        try:
            correlate(self._maps[0], self._maps[1], size=size, backend=backend)
        except (ImportError, ValueError) as error:
            raise ConfigError(str(error)) from error

    def serve(self, turns: Turns) -> Outcome:
        """Times calls with their gradients."""
        clock = Clock(self._device)
        for _ in range(3):
            start = time.perf_counter()
            self._once(clock)
            seconds = time.perf_counter() - start
        turns.ready(TorchGauge(self._device, precision="float32"), seconds=seconds)
        for count in turns:
            turns.give([self._once(clock) for _ in range(count)])
        (b, c, h, w), window = self._maps[0].shape, self._size**2
        read, written = 2 * b * c * h * w, b * window * h * w
        work = Work(3 * 2 * c * written, 4 * 2 * (read + written))  # the gradient of each map costs as much as forward
        return Outcome(work, {"B": b, "C": c, "h": h, "w": w, "window": self._size})

    def _once(self, clock: Clock) -> Sample:
        for one in self._maps:
            one.grad = None
        start, begun = clock.now(), clock.mark()
        maps = correlate(self._maps[0], self._maps[1], size=self._size, backend=self._backend)
        middle = clock.mark()
        torch.autograd.backward(maps, torch.ones_like(maps))
        ended = clock.mark()
        whole = 1000 * (clock.now() - start)
        stages = {"forward": clock.milliseconds(begun, middle), "backward": clock.milliseconds(middle, ended)}
        return Sample(whole, stages)
