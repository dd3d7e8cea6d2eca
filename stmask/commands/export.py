"""`stmask export CHECKPOINT OUT`: writes an stmask checkpoint in another format."""

from __future__ import annotations

from collections.abc import Sequence

from stmask.commands.parsing import Parser
from stmask.exports import export_format, format_for, formats

SUMMARY = "write a checkpoint for another runtime, or for the STMask authors' code"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask export --help`."""
    parser = Parser(
        prog="stmask export",
        description="Writes a checkpoint in another format, by the ending of OUT: what the network computes, for "
        "other runtimes (docs/export.md), or a plain state dict under the names of the authors' code, which "
        "`stmask import --clean` reads back. That code also differs from ours in a few ways that are not in the "
        "weights (stmask/official/QUIRKS.md): above all it reads centre-ness in another order.",
    )
    parser.add_argument("checkpoint", help="a checkpoint of stmask, or a run's folder")
    parser.add_argument("output", metavar="OUT", help="the file to write")
    kinds = "; ".join(f"{name}: {export_format(name).SUMMARY}" for name in formats())
    parser.add_argument("--format", choices=formats(), help=f"default by the ending of OUT. {kinds}")
    options = parser.parse_args(argv)

    from stmask.files import require_distinct, require_writable
    from stmask.loading import load

    format_name = options.format or format_for(options.output)
    require_writable(options.output)
    require_distinct(options.output, options.checkpoint)
    written = export_format(format_name).write(load(options.checkpoint), options.output)
    print(f"written: {options.output} ({written})")
    return 0
