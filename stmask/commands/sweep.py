"""`stmask sweep TABLE ...`: the rows of the paper's tables as one Hydra multirun."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stmask.commands.parsing import Parser
from stmask.errors import ConfigError

if TYPE_CHECKING:
    from stmask.experiments.rows import Row

SUMMARY = "train every row of the paper's tables; repeat it to go on where it stopped"

_DEFAULT_SEED = "0"


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask sweep --help`."""
    options = _parser().parse_args(list(argv))
    words: list[str] = options.words
    overrides = [word for word in words if "=" in word or word.startswith("~")]
    rows = _rows([word for word in words if word not in overrides])
    if options.list:
        print("\n".join(row.name for row in rows))
        return 0
    arguments = _arguments(_distinct(rows), overrides, retry_failed=options.retry_failed)
    print(shlex.join(["stmask", "train", *arguments]), flush=True)

    from stmask.commands import train

    return train.main(arguments)


def _parser() -> Parser:
    parser = Parser(
        prog="stmask sweep",
        description="Trains every row of one or more tables with every seed: `stmask sweep table4 table5 seeds=0,1,2`. "
        "Each run has its folder below runs/sweeps. When repeated, the command skips finished runs and resumes "
        "stopped ones. Prints the equivalent `stmask train -m ...` first.",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="TABLE|KEY=VALUE",
        help="tables (table1 .. table6, coco, quirks, fcb, or all) or rows of them (table4/t4_fca), overrides as of "
        "`stmask train`, such as recipe=tiny, hydra/launcher=gpus or optimizer.lr=1e-4,2e-4, and seeds=0,1,2 (default "
        "0)",
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows and stop")
    parser.add_argument("--retry-failed", action="store_true", help="also restart runs that failed")
    return parser


def _rows(names: Sequence[str]) -> list[Row]:
    from stmask.experiments.rows import ALL_TABLES, BESIDES, tables

    if not names:
        raise ConfigError(f"which table? There are: {', '.join([*tables(), *BESIDES, ALL_TABLES])}")
    wanted = dict.fromkeys(table for name in names for table in (tables() if name == ALL_TABLES else [name]))
    return list({row.experiment: row for name in wanted for row in _named(name)}.values())


def _named(name: str) -> list[Row]:
    """The rows of a table, or the one that is named as `experiment=` names it: table6/t6_masktrack_r50."""
    from stmask.experiments.rows import rows

    table, slash, row = name.partition("/")
    found = [one for one in rows(table) if not slash or one.name == row]
    if not found:
        raise ConfigError(f"{table} has no row {row!r}; there are: {', '.join(one.name for one in rows(table))}")
    return found


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """The first row of each network; prints which other rows it stands for."""
    from stmask.config import compose
    from stmask.runs.identity import config_hash

    same = defaultdict(list)
    for row in rows:
        same[config_hash(compose("train", [f"experiment={row.experiment}"]))].append(row)
    for first, *others in same.values():
        if others:
            print(f"# one run for all of: {', '.join(row.name for row in (first, *others))}")
    return [equal[0] for equal in same.values()]


def _arguments(rows: Sequence[Row], overrides: Sequence[str], *, retry_failed: bool) -> list[str]:
    """The overrides for `stmask train`. The seed varies slowest: a whole table is done before the next seed begins."""
    seeds = [override for override in overrides if override.partition("=")[0] in ("seed", "seeds")]
    if len(seeds) > 1:
        raise ConfigError(f"{seeds[0]} and {seeds[1]} contradict each other; give seeds=0,1,2 once")
    if any(override.startswith("experiment=") for override in overrides):
        raise ConfigError("experiment= follows from the table; `stmask train -m experiment=...` takes any")
    seed = seeds[0].partition("=")[2] if seeds else _DEFAULT_SEED
    rest = [override for override in overrides if override not in seeds]
    retry = ["retry_failed=true"] if retry_failed else []
    return ["-m", f"seed={seed}", f"experiment={','.join(row.experiment for row in rows)}", *rest, *retry]
