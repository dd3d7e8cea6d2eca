"""Runs beside the paper: which run counts for which row under which setting, and what they measured."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from stmask.errors import DataError
from stmask.experiments.collect import RunRecord
from stmask.experiments.rows import Row
from stmask.experiments.settings import Setting, configuration_of_row
from stmask.experiments.speed import Conditions

METRICS = ("AP", "box_AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10")
PAPER_FPS = "FPS"
_WITHOUT_PAPER = ("AP", "AP50", "AP75")  # shown of rows that the paper doesn't have


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity over several runs."""

    values: tuple[float, ...] = ()

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Of the sample; one run has none."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class RowResult:
    """What was measured of a row under one setting.

    Attributes:
        row: with the paper's numbers.
        runs: that count, one for each seed, in the order of the seeds; none is normal.
        fps: frames per second of those that were measured under the section's conditions.
    """

    row: Row
    runs: tuple[RunRecord, ...]
    fps: Spread

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.seed for run in self.runs)

    def metric(self, name: str) -> Spread:
        """A metric of the best validations, in percent."""
        return Spread(tuple(100 * run.metrics[name] for run in self.runs if name in run.metrics))

    def difference(self, name: str) -> float | None:
        """Ours less the paper's, in points; None where either is missing."""
        mean, paper = self.metric(name).mean, self.row.paper.get(name)
        return None if mean is None or paper is None else mean - paper

    @property
    def train_seconds(self) -> Spread:
        return Spread(tuple(run.train_seconds for run in self.runs if run.train_seconds is not None))

    @property
    def parameters(self) -> int | None:
        return next((run.parameters for run in self.runs if run.parameters is not None), None)


@dataclass(frozen=True)
class Section:
    """A table under one setting.

    Attributes:
        notes: which runs do not count, and why, in a line each.
        conditions: of the speeds that count; None where none was measured.
    """

    setting: Setting
    rows: tuple[RowResult, ...]
    notes: tuple[str, ...]
    conditions: Conditions | None

    @property
    def datasets(self) -> tuple[str, ...]:
        """What the metrics are of: one entry, unless folders of several names hold the dataset."""
        return tuple(sorted({run.dataset for result in self.rows for run in result.runs}))

    @property
    def measured_rows(self) -> int:
        return sum(bool(result.runs) for result in self.rows)

    @property
    def measured_runs(self) -> int:
        return sum(len(result.runs) for result in self.rows)


@dataclass(frozen=True)
class Comparison:
    """A table of the paper: the rows as they are configured first, then under each other setting that has runs."""

    table: str
    sections: tuple[Section, ...]

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the paper gives for any of the rows; the first one is what the table is about."""
        given = {name for result in self.sections[0].rows for name in result.row.paper}
        return tuple(name for name in METRICS if name in given) or _WITHOUT_PAPER


def compare(table: str, rows: Sequence[Row], records: Sequence[RunRecord]) -> Comparison:
    """Sorts runs to the rows of a table.

    A run counts for a row if it is done and its own row, which may be of another table, is the same configuration
    under the run's setting. Of runs with the same seed the newest counts.
    """
    sections = []
    for setting in sorted({Setting(), *(record.setting for record in records)}):
        under = [record for record in records if record.setting == setting]
        section = _section(setting, rows, under)
        if setting == Setting() or section.measured_rows or section.notes:
            sections.append(section)
    return Comparison(table, tuple(sections))


def _section(setting: Setting, rows: Sequence[Row], records: Sequence[RunRecord]) -> Section:
    chosen: list[tuple[Row, list[RunRecord]]] = []
    remarks: list[str] = []
    unfinished: set[RunRecord] = set()
    for row in rows:
        candidates = [record for record in records if _same(row.experiment, record.experiment, setting)]
        unfinished.update(record for record in candidates if not record.done)
        kept, passed_over = _newest([record for record in candidates if record.done])
        chosen.append((row, kept))
        remarks += passed_over
    if unfinished:
        counts = sorted(Counter(record.state for record in unfinished).items())
        remarks.append(f"Not finished, and not counted: {', '.join(f'{number} {state}' for state, number in counts)}.")
    timed = {run: run.speed.conditions for _, runs in chosen for run in runs if run.speed is not None}
    counted_by = Counter(timed.values())
    conditions = min(counted_by, key=lambda c: (-counted_by[c], str(c)), default=None)
    if others := sum(other != conditions for other in timed.values()):
        of_runs = "1 run" if others == 1 else f"{others} runs"
        remarks.append(f"The FPS of {of_runs} was measured under other conditions, and left out.")
    results = tuple(RowResult(row, tuple(runs), _fps(runs, conditions)) for row, runs in chosen)
    return Section(setting, results, tuple(dict.fromkeys(remarks)), conditions)  # rows of one network remark the same


def _fps(runs: Sequence[RunRecord], conditions: Conditions | None) -> Spread:
    return Spread(tuple(run.speed.fps for run in runs if run.speed is not None and run.speed.conditions == conditions))


def _same(experiment: str, other: str, setting: Setting) -> bool:
    if experiment == other:
        return True
    configuration = configuration_of_row(experiment, setting.of_the_network)
    return configuration is not None and configuration == configuration_of_row(other, setting.of_the_network)


def _newest(done: Sequence[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """One run for each seed, all of the newest run's configuration, and what was passed over."""
    by_age = sorted(done, key=lambda record: (record.finished, record.name), reverse=True)
    kept: dict[int, RunRecord] = {}
    notes = []
    for record in by_age:
        if record.configuration != by_age[0].configuration:
            notes.append(f"`{record.name}` was trained with another configuration than `{by_age[0].name}`: left out.")
        elif record.seed in kept:
            counts = kept[record.seed].name
            notes.append(f"Seed {record.seed} was run more than once: `{counts}` counts, `{record.name}` is older.")
        else:
            kept[record.seed] = record
    return [kept[seed] for seed in sorted(kept)], sorted(notes)


def most_measured(comparisons: Iterable[Comparison]) -> tuple[Comparison, Section]:
    """The table, and the setting in it, for which the most rows were measured, then the most runs count.

    Raises:
        DataError: nothing was measured.
    """
    found = [(comparison, section) for comparison in comparisons for section in comparison.sections]
    if not any(section.measured_rows for _, section in found):
        raise DataError("no run of a row of the tables is done; `stmask sweep table4 recipe=tiny` trains a small one")
    return max(found, key=lambda pair: (pair[1].measured_rows, pair[1].measured_runs))


def counted(comparisons: Iterable[Comparison]) -> list[RunRecord]:
    """Every run that counts for a row, once."""
    results = (result for comparison in comparisons for section in comparison.sections for result in section.rows)
    return list(dict.fromkeys(run for result in results for run in result.runs))
