"""One checkpoint on several splits: a folder of results for each, one table of all; what is done is kept."""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from stmask.class_names import listed
from stmask.config import plain
from stmask.data.synthetic.bench import FACTOR_SETS, NAME, VERSION, require_bench
from stmask.engine.evaluate import Evaluator, Job, counted_frames
from stmask.errors import ConfigError, DataError, Interrupted
from stmask.evaluation.report import TextTable, percent
from stmask.files import atomic_open, read_json
from stmask.runs.evaluations import METRICS, TABLE
from stmask.runs.provenance import bench_beside
from stmask.runs.validations import RESULTS

_BASE = "valid"  # the split of which the sets with more of one factor are the first videos
_SHOWN = ("AP", "AP50", "AP75", "AR1", "AR10")
_log = logging.getLogger(__name__)

Row = dict[str, Any]


def split_names(said: str | None) -> list[str] | None:
    """The names of several splits: those that are given with commas, or `bench`; None for a single one.

    Raises:
        ConfigError: a name is empty, or given twice.
    """
    if said is None or (said != NAME and "," not in said):
        return None
    if said == NAME:
        return [_BASE, *FACTOR_SETS]
    names = [name.strip() for name in said.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"split={said} must be different names of splits with commas between them, or {NAME}")
    return names


def evaluate_splits(cfg: DictConfig, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Evaluates `cfg.checkpoint` on splits: each in a folder of its own below `cfg.output`, and all in one table.

    A split whose folder has the results of the same checkpoint, settings and annotations already is not run again.

    Returns:
        The metrics by the names of the splits; see `evaluate`.

    Raises:
        StmaskError: whatever the user can mend; all splits are looked at before the first is run.
    """
    if any(plain(cfg.data).get(key) for key in ("valid_annotations", "valid_frames")):
        raise ConfigError("data.valid_annotations and valid_frames are those of one split: give data.root for several")
    evaluator, output = Evaluator(cfg), Path(cfg.output)
    if cfg.split == NAME:
        if evaluator.root is None:
            raise DataError(f"split={NAME}: give data.root=FOLDER, the folder of the benchmark")
        require_bench(evaluator.root)
        if (trained := bench_beside(evaluator.checkpoint)) not in (None, VERSION):
            raise DataError(
                f"{evaluator.checkpoint} was trained on version {trained} of the benchmark {NAME}, and "
                f"{evaluator.root} holds version {VERSION}: results are not comparable; train it again"
            )
    jobs = {name: evaluator.job(name) for name in names}
    due = {name: job for name, job in jobs.items() if not job.record.is_of(output / name)}
    if kept := len(jobs) - len(due):
        _log.info("%d of %d splits are done already in %s", kept, len(jobs), output)
    if other := [name for name in due if (output / name / METRICS).exists()]:
        _log.warning(
            "%s: made anew in %s, where other weights, settings or files were evaluated", listed(other), output
        )
    try:
        with counted_frames(sum(job.frames for job in due.values())) as advance:
            for name, job in due.items():
                evaluator.run(job, output / name, on_frame=advance)
    except (KeyboardInterrupt, Interrupted):
        print(f"to go on: the same command with output={output}", file=sys.stderr)
        raise
    metrics = {name: read_json(output / name / METRICS) for name in jobs}
    rows = [_row(name, job, metrics[name]) for name, job in jobs.items()]
    if _BASE in jobs and not FACTOR_SETS.keys().isdisjoint(jobs):
        _compare(rows, jobs, output)
    _write(output / TABLE, rows)
    print(_table(rows))
    Console().print(f"written: {output / TABLE}, and a folder for each split", soft_wrap=True)
    return metrics


def _row(name: str, job: Job, metrics: Mapping[str, float]) -> Row:
    factor, step = FACTOR_SETS.get(name, ("", ""))
    version = job.record.version if job.record.benchmark else ""
    items = len(job.data.valid_dataset)
    return {"split": name, "version": version, "factor": factor, "step": step, "videos": items, **metrics}


def _compare(rows: list[Row], jobs: Mapping[str, Job], output: Path) -> None:
    """Adds to each set with more of a factor the AP of the same videos as they are in `valid`, and the difference."""
    base = jobs[_BASE]
    entries = read_json(output / _BASE / RESULTS)
    known: dict[tuple[int, ...], float] = {}
    for row in rows:
        if row["split"] not in FACTOR_SETS or "AP" not in row or base.truth is None:
            continue
        ids = tuple(jobs[row["split"]].data.valid_dataset.index.video_ids.tolist())
        if ids not in known:
            same = [entry for entry in entries if entry["video_id"] in ids]
            known[ids] = base.data.task.score(base.truth, same, ids).metrics["AP"]
        row["base_AP"], row["AP_difference"] = known[ids], row["AP"] - known[ids]


def _write(path: Path, rows: Sequence[Row]) -> None:
    columns = dict.fromkeys(name for row in rows for name in row)
    with atomic_open(path) as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _table(rows: Sequence[Row]) -> str:
    shown = [name for name in _SHOWN if any(name in row for row in rows)]
    compared = any("AP_difference" in row for row in rows)
    table = TextTable("split", "videos", *shown, *(["same in valid", "difference"] if compared else []))
    for row in rows:
        values = [percent(row[name]) if name in row else "-" for name in shown]
        if compared:
            there = "AP_difference" in row
            values += [percent(row["base_AP"]), f"{100 * row['AP_difference']:+.1f}"] if there else ["", ""]
        table.add_row(row["split"], str(row["videos"]), *values)
    return str(table)
