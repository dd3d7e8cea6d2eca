"""The paper's tables: each row is a configuration below conf/experiment/, beside the numbers that the paper gives."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from stmask.config import conf_dir
from stmask.errors import ConfigError
from stmask.signatures import nearest

ALL_TABLES = "all"
IMAGES = "coco"  # the image networks that training on videos starts from
QUIRKS = "quirks"  # what the authors' code does besides the method, see stmask/official/QUIRKS.md
FCB = "fcb"  # what of FCB's effect is its layer, and what calibration
BESIDES = (IMAGES, QUIRKS, FCB)
"""Tables beside the paper's six."""
TITLES = {
    "table1": "FCA: kernels of the prediction head",
    "table2": "FCB: which branches are calibrated, and how",
    "table3": "TF: level and window of the correlation",
    "table4": "FCA, FCB and TF, one after the other",
    "table5": "FCA, FCB and TF, each alone",
    "table6": "STMask and its peers on YouTube-VIS 2019",
    IMAGES: "the image networks that training on videos starts from",
    QUIRKS: "what the authors' code does besides the method, each mended alone and all together",
    FCB: "what of FCB is one more layer, and what calibration",
}
_EXPERIMENTS = "experiment"
# percent on YouTube-VIS 2019 valid (of images: on COCO, given with the authors' weights), frames per second on one
# 2080 Ti; empty: not given. "before" is ours
_NUMBERS = "paper.csv"


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        table: the folder of its configuration below conf/experiment/.
        name: the file, and the run's name.
        experiment: what `experiment=` takes.
        paper: the numbers of the paper by their column, in percent and frames per second; empty for your own rows.
        before: the row of its table from which it differs in one part; None where there is none.
    """

    table: str
    name: str
    experiment: str
    paper: dict[str, float]
    before: str | None = None


def tables() -> tuple[str, ...]:
    """The names of the tables, in order: the folders `conf/experiment/table*`."""
    return tuple(sorted(folder.name for folder in (conf_dir() / _EXPERIMENTS).glob("table*") if folder.is_dir()))


def rows(table: str) -> tuple[Row, ...]:
    """The rows of a table in the paper's order; your own rows come after them.

    Raises:
        ConfigError: there is no such table; the nearest is named.
    """
    known = (*tables(), *BESIDES)
    if table not in known:
        raise ConfigError(f"unknown table {table!r}; {_hint(table, known)}")
    folder: Path = conf_dir() / _EXPERIMENTS / table
    names = {file.stem for file in folder.glob("*.yaml")}
    lines = _lines()
    listed = [name for name in lines if name in names]
    ordered = [*listed, *sorted(names - set(listed))]
    return tuple(Row(table, name, f"{table}/{name}", *lines.get(name, ({}, None))) for name in ordered)


def _hint(name: str, known: Sequence[str]) -> str:
    if home := [table for table in known for row in rows(table) if row.name == name]:
        return f"it is a row of {home[0]}: `stmask train experiment={home[0]}/{name}`"
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"there are: {', '.join(known)}, {ALL_TABLES}"


@cache
def _lines() -> dict[str, tuple[dict[str, float], str | None]]:
    """Row name to the numbers that the paper gives for it, and the row before."""
    text = (resources.files(__package__) / _NUMBERS).read_text(encoding="utf-8")
    labels = {"table", "row", "before"}
    return {
        line["row"]: (
            {column: float(value) for column, value in line.items() if column not in labels and value},
            line["before"] or None,
        )
        for line in csv.DictReader(text.splitlines())
    }
