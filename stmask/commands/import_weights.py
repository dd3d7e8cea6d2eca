"""`stmask import WEIGHTS.pth OUT.ckpt`: turns the authors' weights into an stmask checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from stmask.commands.parsing import Parser

SUMMARY = "turn the STMask authors' published weights into a checkpoint of stmask"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask import --help`."""
    parser = Parser(
        prog="stmask import",
        description="Recognises the network of published weights (.pth) by names and shapes, and writes a checkpoint "
        "that says how to build and use it. `stmask evaluate` and `stmask predict` also take the .pth file itself.",
    )
    parser.add_argument(
        "weights",
        help="a file of the STMask authors, or its name in `stmask weights list`; only tensors are read from it",
    )
    parser.add_argument("output", help="the checkpoint to write")
    parser.add_argument(
        "--classes",
        metavar="JSON",
        help="a dataset in YouTube-VIS format whose categories name the classes, in order of id",
    )
    parser.add_argument(
        "--clean",
        action="store_true",
        help="for weights that `stmask export` wrote: without the authors' quirks (see stmask/official/QUIRKS.md)",
    )
    options = parser.parse_args(argv)

    from stmask.checkpoint_path import checkpoint_path
    from stmask.checkpoints import save_model
    from stmask.official import read

    names = None if options.classes is None else _class_names(options.classes)
    imported = read(checkpoint_path(options.weights), class_names=names, quirks=not options.clean)
    save_model(options.output, imported.model(), imported.card)
    print(imported.report())
    print(f"written: {options.output}")
    return 0


def _class_names(path: str) -> list[str]:
    from stmask.errors import DataError
    from stmask.files import read_json

    content = read_json(path)
    try:
        return [str(category["name"]) for category in sorted(content["categories"], key=lambda c: int(c["id"]))]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} has no categories with id and name") from error
