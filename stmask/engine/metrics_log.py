"""metrics.csv: what a run logs, row by row, and where a resumed run goes on in it."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from stmask.files import atomic_open
from stmask.runs.history import whole_rows

_FIRST = "step"


class MetricsLog(Logger):
    """Writes a CSV file with a row for each time that something is logged, and nothing of it later.

    A row is on the disk before the next step begins; a kill can cost half a row at the end, never one before a
    checkpoint. Equal runs write equal bytes, stopped and resumed or not.

    Args:
        file: begun anew; `keep` takes it up again.

    Attributes:
        rows: how many were written.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        super().__init__()
        self.file = Path(file)
        self.rows = 0
        self._columns: list[str] = []
        self._begun = False

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.file.parent)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the run's configuration has a file of its own."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row: dict[str, Any] = {_FIRST: self.rows if step is None else step, **metrics}
        if not self._begun or row.keys() - set(self._columns):
            before = self._read(self.rows) if self._begun else []
            self._columns = [_FIRST, *sorted((set(self._columns) | row.keys()) - {_FIRST})]
            self._write([*before, row])
        else:
            with self.file.open("a", newline="", encoding="utf-8") as handle:
                handle.write(self._text([row]))
        self.rows += 1

    @rank_zero_only
    def keep(self, rows: int = sys.maxsize, *, before: int = sys.maxsize) -> None:
        """Takes up the file of the run that goes on: its first `rows` rows, those of steps `before` one."""
        found = [row for row in self._read(rows) if int(row[_FIRST]) < before] if self.file.exists() else []
        self._columns = [_FIRST, *sorted({name for row in found for name in row} - {_FIRST})]
        self._write(found)
        self.rows = len(found)

    def _read(self, rows: int) -> list[dict[str, str]]:
        return [{name: value for name, value in row.items() if value} for row in whole_rows(self.file)[:rows]]

    def _write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        with atomic_open(self.file) as handle:
            handle.write(",".join(self._columns) + "\n" + self._text(rows))
        self._begun = True

    def _text(self, rows: Iterable[Mapping[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, fieldnames=self._columns, lineterminator="\n").writerows(rows)
        return text.getvalue()
