"""`stmask benchmark train "KEY=VALUE ..." ...`: steps of training configurations, side by side."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stmask.commands.benchmarking import add_network_options, add_options, run
from stmask.commands.parsing import Parser
from stmask.errors import ConfigError

SUMMARY = "steps of training configurations, side by side"
_VIDEOS = 12
_OBJECTS = (3, 6)


def _parser() -> Parser:
    parser = Parser(
        prog="stmask benchmark train",
        description="Times steps as `stmask train` makes them, each configuration in a process of its own; they take "
        "turns. Without data.root the videos are made, at the configuration's input size.",
    )
    parser.add_argument("configurations", metavar="CONFIGURATION", nargs="*", default=[""],
                        help="overrides of `stmask train`, those of one configuration in one word: "
                        "'experiment=demo data.batch_size=8'; default: none")  # fmt: skip
    add_options(parser, repeats=20, unit="steps")
    add_network_options(parser, precision=False)
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask benchmark train --help`."""
    options = _parser().parse_args(argv)
    _require_whole(options.configurations)

    from stmask.benchmarks.turns import Entry
    from stmask.config import compose

    entries = []
    with tempfile.TemporaryDirectory() as folder:
        for words in options.configurations:
            overrides = shlex.split(words)
            cfg = compose("train", overrides)  # a mistake is named before anything is made
            given = any(override.lstrip("+").startswith("data.root=") for override in overrides)
            size = int(cfg.data.preprocessor.height), int(cfg.data.preprocessor.width)
            arguments = {
                "overrides": overrides,
                "data": None if given else str(_made(Path(folder), *size)),
                "yardstick": options.yardstick,
                "trust": options.trust,
            }
            entries.append(Entry(words or "stmask train", arguments))
        run("train", entries, options)
    return 0


def _require_whole(configurations: Sequence[str]) -> None:
    """Refuses a single override that none of the other configurations has: it most likely is part of one of them.

    Raises:
        ConfigError: such words.
    """
    split = [shlex.split(words) for words in configurations]
    keys = [{override.partition("=")[0] for override in overrides} for overrides in split]
    for number, overrides in enumerate(split):
        others = keys[:number] + keys[number + 1 :]
        if others and len(overrides) == 1 and not any(keys[number] & other for other in others):
            together = shlex.join([" ".join(configurations)])
            raise ConfigError(
                f"{overrides[0]} is a configuration of its own here, since each word is one; overrides of one "
                f"configuration go into one word: {together}"
            )


def _made(folder: Path, height: int, width: int) -> Path:
    """Videos of this size, the same ones for all configurations that want it."""
    from stmask.data.synthetic import SyntheticConfig, write_dataset

    place = folder / f"{width}x{height}"
    if not place.exists():
        config = SyntheticConfig.preset("easy", height=height, width=width, objects=_OBJECTS)
        write_dataset(place, config, videos=_VIDEOS, valid_videos=0)
    return place
