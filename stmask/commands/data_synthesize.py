"""`stmask data synthesize OUT`: synthetic videos on disk."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from typing import Any

from stmask.commands.parsing import Parser

SUMMARY = "write synthetic videos with exact masks, easy to hard, in YouTube-VIS format"


def _frame_size(text: str) -> tuple[int, int]:
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 128x224, got {text!r}")
    return int(height), int(width)


def _parser_of(default: Any) -> tuple[Callable[[str], Any], str]:
    """How to read a knob whose default is `default` from the command line, and its placeholder in the help."""
    if not isinstance(default, tuple):
        return type(default), "N" if isinstance(default, int) else "X"
    kind = type(default[0])
    if kind is str:
        return lambda text: tuple(text.split(",")), "NAME,..."

    def parse_range(text: str) -> tuple[Any, Any]:
        low, _, high = text.partition(",")
        try:
            return kind(low), kind(high or low)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected MIN,MAX or one value, got {text!r}") from None

    return parse_range, "MIN,MAX"


def _parser() -> Parser:
    from stmask.data.synthetic import PRESETS, SyntheticConfig

    parser = Parser(prog="stmask data synthesize", description=SUMMARY)
    parser.add_argument("out", metavar="OUT", help="folder to write; must not exist or be empty")
    parser.add_argument("--videos", type=int, default=100, metavar="N", help="training videos (default: %(default)s)")
    parser.add_argument("--valid-videos", type=int, default=20, metavar="N", help="held-out videos (default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same bytes (default: %(default)s)")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="easy", help="difficulty (default: %(default)s)")
    parser.add_argument("--size", type=_frame_size, metavar="HxW", help="frame size in pixels (default: 128x224)")
    parser.add_argument("--overwrite", action="store_true", help="replace a synthetic dataset that is there already")
    knobs = parser.add_argument_group("knobs over the preset (lengths as a part of the frame's short side)")
    for knob in fields(SyntheticConfig):
        if knob.name in ("height", "width"):
            continue
        assert knob.default is not MISSING
        parse, placeholder = _parser_of(knob.default)
        option = "--" + knob.name.replace("_", "-")
        # Without a default: an option that is not given must leave the preset's value alone.
        knobs.add_argument(
            option, type=parse, metavar=placeholder, default=argparse.SUPPRESS, help=knob.metadata["help"]
        )
    return parser


def main(argv: Sequence[str]) -> int:
    """Parses the options, writes the dataset, prints where it is."""
    from stmask.console import counted
    from stmask.data.synthetic import SyntheticConfig, write_dataset
    from stmask.errors import ConfigError

    options = vars(_parser().parse_args(list(argv)))
    out, preset = options.pop("out"), options.pop("preset")
    counts = {name: options.pop(name) for name in ("videos", "valid_videos", "seed")}
    for name, count in counts.items():
        if count < 0:
            raise ConfigError(f"--{name.replace('_', '-')} must not be negative, got {count}")
    overwrite, size = options.pop("overwrite"), options.pop("size")
    if size is not None:
        options["height"], options["width"] = size
    config = SyntheticConfig.preset(preset, **options)
    with counted("videos", counts["videos"] + counts["valid_videos"]) as on_video:
        folder = write_dataset(out, config, **counts, overwrite=overwrite, on_video=on_video)
    print(f"{folder}: {counts['videos']} training and {counts['valid_videos']} held-out videos ({preset})")
    return 0
