"""`stmask benchmark <what>`: the benchmarks are the modules `benchmark_<what>` beside this one."""

from __future__ import annotations

from collections.abc import Sequence

from stmask.commands.family import run_member

SUMMARY = "measure the time and memory of a part"


def main(argv: Sequence[str]) -> int:
    """Runs one benchmark; without one, or with --help, lists them."""
    return run_member("benchmark", argv, member="what", summary=SUMMARY)
