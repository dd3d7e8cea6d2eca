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
    """The command-line parser of a setting whose default is `default`, and its placeholder in the help."""
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
    # Without defaults: an option that is not given must keep the preset's value, and `bench` takes none.
    absent: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser.add_argument("--videos", type=int, metavar="N", help="training videos (default: 100)", **absent)
    parser.add_argument("--valid-videos", type=int, metavar="N", help="held-out videos (default: 20)", **absent)
    parser.add_argument("--seed", type=int, metavar="N", help="same seed, same bytes (default: 0)", **absent)
    about = "difficulty, or the benchmark, all of whose settings are fixed (default: %(default)s)"
    parser.add_argument("--preset", choices=tuple(PRESETS), default="easy", help=about)
    size = "frame size in pixels (default: 128x224)"
    parser.add_argument("--size", type=_frame_size, metavar="HxW", help=size, **absent)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing synthetic dataset")
    knobs = parser.add_argument_group("settings over the preset (lengths as a fraction of the frame's short side)")
    for knob in fields(SyntheticConfig):
        if knob.name in ("height", "width"):
            continue
        assert knob.default is not MISSING
        parse, placeholder = _parser_of(knob.default)
        option = "--" + knob.name.replace("_", "-")
        knobs.add_argument(option, type=parse, metavar=placeholder, help=knob.metadata["help"], **absent)
    return parser


def main(argv: Sequence[str]) -> int:
    """Parses the options, writes the dataset, prints where it is."""
    from stmask.data.synthetic.bench import NAME

    options = vars(_parser().parse_args(list(argv)))
    out, preset, overwrite = options.pop("out"), options.pop("preset"), options.pop("overwrite")
    if preset == NAME:
        _write_bench(out, options, overwrite=overwrite)
    else:
        _write(out, preset, options, overwrite=overwrite)
    return 0


def _write_bench(out: str, options: dict[str, Any], *, overwrite: bool) -> None:
    from stmask.console import counted
    from stmask.data.synthetic import bench
    from stmask.errors import ConfigError

    if options:
        option = "--" + next(iter(options)).replace("_", "-")
        raise ConfigError(f"--preset {bench.NAME} is the same for everybody and takes no {option}")
    with counted("videos", bench.number_of_videos()) as on_video:
        folder = bench.write_bench(out, overwrite=overwrite, on_video=on_video)
    print(
        f"{folder}: {bench.NAME}, version {bench.VERSION}: {bench.TRAIN_VIDEOS} training and {bench.VALID_VIDEOS} "
        f"held-out videos, and {len(bench.FACTOR_SETS)} sets of {bench.FACTOR_VIDEOS} of these with more of one factor"
    )


def _write(out: str, preset: str, options: dict[str, Any], *, overwrite: bool) -> None:
    from stmask.console import counted
    from stmask.data.synthetic import SyntheticConfig, write_dataset
    from stmask.errors import ConfigError

    defaults = {"videos": 100, "valid_videos": 20, "seed": 0}
    counts = {name: options.pop(name, default) for name, default in defaults.items()}
    for name, count in counts.items():
        if count < 0:
            raise ConfigError(f"--{name.replace('_', '-')} must not be negative, got {count}")
    if "size" in options:
        options["height"], options["width"] = options.pop("size")
    config = SyntheticConfig.preset(preset, **options)
    with counted("videos", counts["videos"] + counts["valid_videos"]) as on_video:
        folder = write_dataset(out, config, **counts, overwrite=overwrite, on_video=on_video)
    print(f"{folder}: {counts['videos']} training and {counts['valid_videos']} held-out videos ({preset})")
