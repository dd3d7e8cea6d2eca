"""`stmask report RUN` or `stmask report RESULTS.json GT.json`: one HTML file to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stmask.commands.parsing import Parser

SUMMARY = "one HTML page about a run or a results.json: curves, AP by class, errors with frames, clips"

_NAME = "report.html"
_KEYS: dict[str, type] = {
    "output": Path, "data.root": Path, "frames": Path, "clips": int, "min_score": float, "megabytes": float
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Words:
    paths: list[Path]
    given: dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `stmask report --help`."""
    options = _parser().parse_args(list(argv))
    words = _read(options.words)

    from stmask.errors import ConfigError
    from stmask.report.page import Limits

    given = {key: value for key, value in words.given.items() if key in Limits.__dataclass_fields__}
    try:
        limits = Limits(**given)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    write(words.paths, limits=limits, output=words.given.get("output"), root=words.given.get("data.root"),
          frames=words.given.get("frames"))  # fmt: skip
    return 0


def write(
    paths: Sequence[Path], *, limits: Any = None, output: Path | None = None, root: Path | None = None,
    frames: Path | None = None,
) -> Path:  # fmt: skip
    """Writes the report on a run's folder, on results and ground truth, or on both; returns where it is.

    Raises:
        StmaskError: whatever the user can mend.
    """
    from stmask.errors import ConfigError
    from stmask.report.page import Limits, Results, require_place, write_report
    from stmask.report.sources import results_and_truth, validation_results
    from stmask.runs.history import read_history

    folders = [path for path in paths if path.is_dir()]
    others = [path for path in paths if not path.is_dir()]
    if len(folders) > 1 or len(others) not in (0, 2) or not paths:
        raise ConfigError(
            "usage: stmask report RUN, stmask report RESULTS.json GT.json, or all three; got "
            + (", ".join(map(str, paths)) or "nothing")
        )
    history = read_history(folders[0]) if folders else None
    results, missing = None, ""
    if others:
        results = Results(*results_and_truth(*others), frames)
    elif history is not None:
        results, missing = validation_results(history, root=root, frames=frames)
    output = output or (folders[0] if folders else results.results.parent if results else Path()) / _NAME
    require_place(output)
    size = write_report(
        output, history=history, results=results, missing=missing, limits=limits or Limits(), progress=_progress()
    )
    print(f"written: {output} ({size / 1e6:.1f} MB)")
    return output


def _parser() -> Parser:
    parser = Parser(
        prog="stmask report",
        usage="stmask report RUN [KEY=VALUE ...]\n       stmask report RESULTS.json GT.json [KEY=VALUE ...]",
        description="Writes one HTML file that needs nothing else: curves of the run, AP and AR, AP by class, causes "
        "of errors with the frames that show them, clips (annotated beside predicted), worst and slowest videos, "
        "configuration and environment. A run's results are those of its best validation; with RUN RESULTS.json "
        "GT.json they are those of a file.",
        epilog="""\
keys:
  output=FILE.html   where it goes (report.html in the run's folder, or beside the results)
  data.root=FOLDER   the run's dataset, where it was moved
  frames=FOLDER      that the file names in the annotations are relative to, where it is not found
  clips=6            videos to show
  min_score=0.3      of predictions that are drawn in them
  megabytes=20       that pictures and clips may take together""",
        formatter_class=_formatter(),
    )
    parser.add_argument(
        "words", metavar="RUN", nargs="*", help="the folder of a run, or a results.json and its GT.json"
    )
    return parser


def _formatter() -> Any:
    import argparse

    return argparse.RawDescriptionHelpFormatter


def _read(words: Sequence[str]) -> _Words:
    """Paths, and the values of KEY=VALUE; a word that names something there is a path."""
    import difflib

    from stmask.errors import ConfigError
    from stmask.files import at_home

    read = _Words([], {})
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or Path(word).exists():
            read.paths.append(Path(word))
        elif key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KEYS)}"
            raise ConfigError(f"stmask report has no key {key}; {hint}")
        elif not value:
            raise ConfigError(f"{key}= needs a value")
        else:
            kind = _KEYS[key]
            try:
                read.given[key] = Path(at_home(value)) if kind is Path else kind(value)
            except ValueError:
                number = "a whole number" if kind is int else "a number"
                raise ConfigError(f"{key} must be {number}, got {value}") from None
    return read


def _progress() -> Any:
    """Says on stderr what is being done, once each."""
    import sys

    said: set[str] = set()

    def tell(what: str) -> None:
        if what not in said:
            said.add(what)
            print(f"{what} ..", file=sys.stderr)

    return tell
