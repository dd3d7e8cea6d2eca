"""`stmask data <verb>`: the verbs are the modules `data_<verb>` beside this one."""

from __future__ import annotations

from collections.abc import Sequence

from stmask.commands.family import run_member

SUMMARY = "make, check and convert datasets in YouTube-VIS format"


def main(argv: Sequence[str]) -> int:
    """Runs one verb; without one, or with --help, lists them."""
    return run_member("data", argv, member="verb", summary=SUMMARY)
