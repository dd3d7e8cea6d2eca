"""`stmask export CHECKPOINT OUT`: writes an stmask checkpoint in another format."""

from __future__ import annotations

from collections.abc import Sequence

from stmask.commands.parsing import Parser
from stmask.exports import export_format, formats

SUMMARY = "write a checkpoint in another format, such as the STMask authors'"
_DEFAULT = "official"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask export --help`."""
    parser = Parser(
        prog="stmask export",
        description="Writes a checkpoint in another format. `official` is a plain state dict under the names of the "
        "authors' code, which `stmask import --clean` reads back. That code also differs from ours in a few ways that "
        "are not in the weights (stmask/official/QUIRKS.md): above all it reads centre-ness in another order.",
    )
    parser.add_argument("checkpoint", help="a checkpoint of stmask")
    parser.add_argument("output", help="the file to write")
    parser.add_argument("--format", choices=formats(), default=_DEFAULT, help=f"default {_DEFAULT}")
    options = parser.parse_args(argv)

    from stmask.loading import load

    written = export_format(options.format).write(load(options.checkpoint), options.output)
    print(f"written: {options.output} ({written})")
    return 0
