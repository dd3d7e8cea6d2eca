"""`stmask benchmark correlation`: the backends of the local correlation, side by side."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from stmask.commands.benchmarking import add_device, add_options, run
from stmask.commands.parsing import Parser

SUMMARY = "the local correlation of two feature maps, forward and backward, by each backend"
_SHAPE = (1, 256, 24, 40)  # P4 of a 384 x 640 input


def _parser() -> Parser:
    parser = Parser(prog="stmask benchmark correlation", description=SUMMARY)
    parser.add_argument("backends", metavar="BACKEND", nargs="*", help="default: those that are installed")
    parser.add_argument("--shape", type=int, nargs=4, default=_SHAPE, metavar=("B", "C", "H", "W"),
                        help="of the maps (default: P4 of a 384 x 640 input)")  # fmt: skip
    parser.add_argument("--size", type=int, default=11, help="side of the window (default: %(default)s)")
    add_options(parser, repeats=50, unit="calls")
    add_device(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask benchmark correlation --help`."""
    options = _parser().parse_args(argv)

    from stmask.benchmarks.turns import Entry

    sampler = ["sampler"] if importlib.util.find_spec("spatial_correlation_sampler") else []
    shared = {"shape": list(options.shape), "size": options.size, "device": options.device}
    names = options.backends or ["torch", *sampler]
    run("correlation", [Entry(name, {"backend": name, **shared}) for name in names], options)
    return 0
