"""`stmask export CHECKPOINT OUT.pth`: writes an stmask checkpoint for the authors' code."""

from __future__ import annotations

from collections.abc import Sequence

from stmask.commands.parsing import Parser

SUMMARY = "write a checkpoint's weights under the STMask authors' names"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask export --help`."""
    parser = Parser(
        prog="stmask export",
        description="Writes the tensors of a checkpoint under the names of the authors' code, as a plain state dict. "
        "`stmask import --clean` reads it back. The authors' code also differs from ours in a few ways that are not "
        "in the weights (stmask/official/QUIRKS.md): above all it reads centre-ness in another order.",
    )
    parser.add_argument("checkpoint", help="a checkpoint of stmask")
    parser.add_argument("output", help="the .pth file to write")
    options = parser.parse_args(argv)

    from stmask.loading import load
    from stmask.official import export

    count = export(load(options.checkpoint), options.output)
    print(f"written: {options.output} ({count} tensors)")
    return 0
