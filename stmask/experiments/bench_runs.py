"""Runs that were evaluated on the benchmark: read, and refused where they can't be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from stmask.data.synthetic.bench import FACTOR_SETS, NAME, VERSION
from stmask.errors import DataError
from stmask.evaluation import GroundTruth
from stmask.evaluation.resampling import MatchedVideos
from stmask.experiments.collect import RunRecord
from stmask.experiments.comparison import Comparison, RowResult, Section
from stmask.experiments.differences import Runs
from stmask.experiments.rows import Row
from stmask.experiments.settings import Setting
from stmask.files import read_json
from stmask.hub.cache import sha256_of
from stmask.runs.config import read_config
from stmask.runs.evaluations import EvaluationRecord, read_evaluations
from stmask.runs.folder import CONFIG, RECORD
from stmask.runs.identity import leaves_of
from stmask.runs.provenance import bench_beside
from stmask.runs.validations import RESULTS
from stmask.signatures import shown

BASE = "valid"
FOLDER = NAME  # of a run's evaluations, in its own folder
HOW = f"stmask evaluate checkpoint=RUN split={NAME} output=RUN/{FOLDER}"
_OWN = ("model", "data.root", "data.seed", "seed")  # may differ between the runs of a table
_NO_COMMIT = "unknown code"


@dataclass(frozen=True, eq=False)
class BenchRun:
    """A run and what it found in each set of the benchmark, by the set's name."""

    record: RunRecord
    found: Mapping[str, MatchedVideos]
    _parts: dict[bytes, MatchedVideos] = field(default_factory=dict)

    def beside(self, split: str) -> MatchedVideos:
        """What it found in the videos of a factor's set as they are without it; the same object for the same videos."""
        ids = self.found[split].video_ids
        return self._parts.setdefault(ids.tobytes(), self.found[BASE].only(ids))


@dataclass(frozen=True, eq=False)
class BenchRow:
    """A row of a table with its runs, by seed."""

    row: Row
    runs: Mapping[int, BenchRun]

    def on(self, split: str) -> Runs:
        """What its runs found in a set; those that were not evaluated on it are left out."""
        return {seed: run.found[split] for seed, run in self.runs.items() if split in run.found}

    def beside(self, split: str) -> Runs:
        """What its runs found in the videos of a factor's set as they are without it."""
        return {seed: run.beside(split) for seed, run in self.runs.items() if split in run.found and BASE in run.found}


@dataclass(frozen=True)
class BenchTable:
    """A table of which at least one run was evaluated."""

    name: str
    rows: tuple[BenchRow, ...]

    def before(self, row: BenchRow) -> BenchRow | None:
        """The row that a row is compared with."""
        return next((other for other in self.rows if other.row.name == row.row.before), None)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The factors' sets that a run was evaluated on, in the benchmark's order."""
        there = {split for row in self.rows for run in row.runs.values() for split in run.found}
        return tuple(name for name in FACTOR_SETS if name in there)


@dataclass(frozen=True)
class BenchResults:
    """All that is compared.

    Attributes:
        setting: of all runs.
        notes: what a reader should know of the runs, a sentence each.
    """

    setting: Setting
    tables: tuple[BenchTable, ...]
    notes: tuple[str, ...]


def read_bench(comparisons: Sequence[Comparison], *, on_run: Callable[[], None] = lambda: None) -> BenchResults:
    """What the runs of some tables found on the benchmark.

    Args:
        comparisons: of the tables.
        on_run: called after each run.

    Raises:
        DataError: nothing was evaluated; or runs that can't be compared, because they are of different settings or
            protocols, or of another version or other files of the benchmark.
    """
    found = [(c, section, result, run) for c, section, result in _results(comparisons) for run in result.runs]
    evaluated = {run: records for *_, run in found if (records := _evaluations(run))}
    if not evaluated:
        raise DataError(f"none of the runs that are done was evaluated on the benchmark: `{HOW}` for each of them")
    settings = sorted({section.setting for _, section, _, run in found if run in evaluated})
    if len(settings) > 1:
        said = "; ".join(map(str, settings))
        raise DataError(f"runs of {len(settings)} settings can't stand in one table ({said}): name some with --runs")
    _check_protocols(list(evaluated))
    truths = _truths(evaluated)
    read = {}
    for run, records in evaluated.items():
        read[run] = BenchRun(run, {name: _matched(path, truths[name]) for name, (path, _) in records.items()})
        on_run()
    tables = []
    for comparison in comparisons:
        sections = [section for section in comparison.sections if section.setting == settings[0]]
        rows = tuple(
            BenchRow(result.row, {run.seed: read[run] for run in result.runs if run in read})
            for section in sections
            for result in section.rows
        )
        if any(row.runs for row in rows):
            tables.append(BenchTable(comparison.table, rows))
    missing = {run for _, section, _, run in found if section.setting == settings[0] and run not in evaluated}
    return BenchResults(settings[0], tuple(tables), tuple(_notes(list(evaluated), missing=len(missing))))


def _results(comparisons: Sequence[Comparison]) -> Iterator[tuple[Comparison, Section, RowResult]]:
    for comparison in comparisons:
        for section in comparison.sections:
            for result in section.rows:
                yield comparison, section, result


def _evaluations(run: RunRecord) -> dict[str, tuple[Path, EvaluationRecord]]:
    """Of one run the sets of the benchmark, each with its folder.

    Raises:
        DataError: of another version of the benchmark, of another network, or with other parts than the run's.
    """
    if run.folder is None:
        return {}
    own = run.folder / FOLDER
    records = {name: one for name, one in read_evaluations(own).items() if name in (BASE, *FACTOR_SETS)}
    best = run.folder / "checkpoints" / "best.ckpt"
    digest = sha256_of(best) if records and best.is_file() else None
    if records and (trained := bench_beside(best)) not in (None, VERSION):
        raise DataError(
            f"{run.folder} was trained on version {trained} of the benchmark, and this is version {VERSION}: train it "
            "again, or name other runs with --runs"
        )
    for path, record in records.values():
        again = f"evaluate it again (`{HOW}`)"
        if record.benchmark != NAME:
            raise DataError(f"{path} was not measured on the benchmark {NAME}: remove it, or {again}")
        if record.version != VERSION:
            raise DataError(
                f"{path} was measured on version {record.version} of the benchmark, and this is version {VERSION}: "
                f"make it (`stmask data synthesize FOLDER --preset {NAME}`), train with it, and {again}"
            )
        if digest is not None and record.checkpoint_sha256 != digest:
            raise DataError(f"{path} was measured with other weights than {best} has: {again}")
        if record.settings.get("model"):
            raise DataError(f"{path} was measured with model settings other than the run's: {again}")
    return records


def _check_protocols(runs: Sequence[RunRecord]) -> None:
    """Refuses runs that differ in more than their network, whatever their command lines say."""
    first, *others = runs
    protocol = _protocol(first)
    for run in others:
        own = _protocol(run)
        for key in sorted(protocol.keys() | own.keys()):
            one, other = (shown(values[key]) if key in values else "nothing" for values in (protocol, own))
            if one != other:
                raise DataError(
                    f"{first.name} was trained with {key}={one} and {run.name} with {key}={other}: runs of different "
                    "settings can't stand in one table; train the older ones again, or name some with --runs"
                )


def _protocol(run: RunRecord) -> dict[str, Any]:
    assert run.folder is not None
    leaves = leaves_of(read_config(run.folder / CONFIG))
    return {key: value for key, value in leaves.items() if not f"{key}.".startswith(tuple(f"{own}." for own in _OWN))}


def _truths(evaluated: Mapping[RunRecord, Mapping[str, tuple[Path, EvaluationRecord]]]) -> dict[str, GroundTruth]:
    """The annotations of each set, from wherever a run was evaluated with them.

    Raises:
        DataError: runs of different files, or none of the files is there any more.
    """
    places: dict[str, dict[str, Path]] = {}  # by set: where each run, by the folder of its results, was measured
    digests: dict[str, tuple[str, Path]] = {}
    for records in evaluated.values():
        for name, (path, record) in records.items():
            digest, first = digests.setdefault(name, (record.annotations_sha256, path))
            if record.annotations_sha256 != digest:
                raise DataError(f"{first} and {path} were measured with different annotations: evaluate both again")
            places.setdefault(name, {})[record.annotations] = path
    truths = {}
    for name, files in places.items():
        there = [file for file in files if Path(file).is_file() and sha256_of(Path(file)) == digests[name][0]]
        if not there:
            raise DataError(
                f"the annotations that {digests[name][1]} was measured with are not in {next(iter(files))} any more: "
                f"make the benchmark there again (`stmask data synthesize FOLDER --preset {NAME}`)"
            )
        truths[name] = GroundTruth.load(there[0])
    return truths


def _matched(folder: Path, truth: GroundTruth) -> MatchedVideos:
    try:
        return MatchedVideos.of(truth, read_json(folder / RESULTS))
    except DataError as error:
        raise DataError(f"{folder / RESULTS}: {error}") from error


def _notes(runs: Sequence[RunRecord], *, missing: int) -> Iterator[str]:
    for of, what in ((_code, "by more than one version of the code"), (_device, "on devices of more than one kind")):
        counts = Counter(map(of, runs))
        if len(counts) > 1:
            said = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
            yield f"The runs were trained {what}: {said}."
    if missing:
        yield f"{missing} runs that are done were not evaluated on the benchmark, and do not count."


def _code(run: RunRecord) -> str:
    assert run.folder is not None
    git = read_json(run.folder / RECORD).get("git")
    commit = git.get("commit") if isinstance(git, dict) else None
    if not isinstance(git, dict) or not isinstance(commit, str):
        return _NO_COMMIT
    return commit[:9] + (" with changes" if git.get("dirty") else "")


def _device(run: RunRecord) -> str:
    assert run.folder is not None
    machine = read_json(run.folder / RECORD).get("machine")
    gpus = machine.get("gpus") if isinstance(machine, dict) else None
    trainer = read_config(run.folder / CONFIG).get("trainer")
    on_cpu = isinstance(trainer, dict) and trainer.get("accelerator") == "cpu"
    return "a CPU" if on_cpu or not isinstance(gpus, list) or not gpus else str(gpus[0])
