"""Independent work at once on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")


def at_once(jobs: Sequence[Callable[[], T]], *, device: torch.device) -> list[T]:
    """The results of jobs that don't need each other.

    While a CUDA graph is recorded each gets a stream of its own, so that small kernels, which leave most of a GPU idle,
    run beside each other. Elsewhere it is one after the other. The caller holds what the jobs read until they are done.
    """
    if device.type != "cuda" or len(jobs) < 2 or not torch.cuda.is_current_stream_capturing():
        return [job() for job in jobs]
    main = torch.cuda.current_stream(device)
    results: list[T] = []
    others = [torch.cuda.Stream(device) for _ in jobs[1:]]  # type: ignore[no-untyped-call]
    for job, stream in zip(jobs[1:], others):
        stream.wait_stream(main)
        with torch.cuda.stream(stream):
            results.append(job())
    first = jobs[0]()
    for stream in others:
        main.wait_stream(stream)
    return [first, *results]
