"""`stmask benchmark metric`: time and memory of video AP, from files to the 12 metrics."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from stmask.commands.parsing import Parser

SUMMARY = "time and peak memory of video AP on large files"
_PHASES = ("load truth", "load results", "IoU", "matching", "accumulation")
_Measured = dict[str, tuple[float, float]]


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark; see `stmask benchmark metric --help`."""
    from stmask.evaluation.synthetic import CASES

    parser = Parser(
        prog="stmask benchmark metric",
        description="Writes synthetic files and scores them in a process of their own. Times are those of the fastest "
        "run; loading holds reading, checking and decoding every mask. Memory is the process's peak so far.",
    )
    cases = ", ".join(f"{n} ({c.videos} videos, {c.predictions} predictions each)" for n, c in CASES.items())
    parser.add_argument("cases", metavar="CASE", nargs="*", help=f"{cases}; default: all")
    parser.add_argument("--runs", type=int, default=5, help="runs of each case (default 5)")
    parser.add_argument("--keep", metavar="DIR", help="keep the files there, and use them if they are there already")
    parser.add_argument("--json", metavar="F", help="write the measurements")
    options = parser.parse_args(argv)

    from stmask.errors import ConfigError
    from stmask.files import write_json

    names = options.cases or list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        raise ConfigError(f"no case {unknown[0]!r}, there are {', '.join(CASES)}")
    measured = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            folder = Path(options.keep or temporary) / name
            measured[name] = _measure_case(name, folder, options.runs)
            print(_table(name, measured[name]), flush=True)
    if options.json:
        write_json(options.json, measured, indent=1)
    return 0


def _measure_case(name: str, folder: Path, runs: int) -> _Measured:
    from stmask.evaluation.synthetic import CASES, write_case

    paths = folder / "gt.json", folder / "results.json"
    if not all(path.is_file() for path in paths):
        paths = write_case(CASES[name], folder)
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # a fresh process: its memory is the metric's alone
        return pool.apply(_score, (*paths, runs))


def _score(ground_truth: Path, results: Path, runs: int) -> _Measured:
    """Seconds of the fastest of some runs, and the peak memory in MiB after the phase's first run."""
    from stmask.evaluation.ground_truth import GroundTruth
    from stmask.evaluation.groups import measure
    from stmask.evaluation.reading import collector_paused
    from stmask.evaluation.results import load_predictions
    from stmask.evaluation.video_ap import assign, summarise

    seconds: dict[str, float] = {}
    memory = {"start": _peak_memory()}
    for _ in range(runs):
        gc.collect()
        marks = [time.perf_counter()]

        def mark(phase: str, marks: list[float] = marks) -> None:
            marks.append(time.perf_counter())
            seconds[phase] = min(seconds.get(phase, float("inf")), marks[-1] - marks[-2])
            memory.setdefault(phase, _peak_memory())

        with collector_paused():  # as `stmask metric` does
            truth = GroundTruth.load(ground_truth)
            mark(_PHASES[0])
            predictions = load_predictions(results, truth)
            mark(_PHASES[1])
            overlaps = measure(truth, predictions)
            mark(_PHASES[2])
            matches = assign(truth, overlaps)
            mark(_PHASES[3])
            summarise(truth, overlaps, matches)
            mark(_PHASES[4])
        total = marks[-1] - marks[0]
        seconds["total"] = min(seconds.get("total", float("inf")), total)
        del truth, predictions, overlaps, matches
    memory["total"] = memory[_PHASES[-1]]
    return {"start": (0.0, memory["start"]), **{phase: (seconds[phase], memory[phase]) for phase in seconds}}


def _peak_memory() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _table(name: str, measured: _Measured) -> str:
    lines = [f"{name:<14} {'ms':>9} {'peak MiB':>9}"]
    lines += [f"  {phase:<12} {1000 * seconds:>9.1f} {memory:>9.0f}" for phase, (seconds, memory) in measured.items()]
    return "\n".join(lines)
