"""`stmask weights <command>`: the family of commands for published weights."""

from __future__ import annotations

from collections.abc import Sequence

from stmask.commands.family import run_member

SUMMARY = "published weights by name: list them, fetch them, verify them"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask weights --help`."""
    return run_member("weights", argv, member="command", summary=SUMMARY)
