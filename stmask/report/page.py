"""One self-contained page about a run or a results file: no script, nothing from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from stmask.errors import OutputError
from stmask.evaluation.ground_truth import GroundTruth
from stmask.evaluation.results import load_predictions
from stmask.files import atomic_open
from stmask.report import of_results, of_run, of_videos
from stmask.report.footage import Footage, Room, open_footage
from stmask.report.markup import Markup, definitions, escape, join, name, note, section, tag
from stmask.report.scoring import Scored, score
from stmask.runs.history import RunHistory
from stmask.runs.validations import TIMES, read_times

_MARK = b'<meta name="generator" content="stmask report">'
_HEAD_BYTES = 4096
_SAME = 1e-6  # of two APs


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is shown.

    Attributes:
        clips: videos.
        min_score: predictions below it are not drawn in clips, and are not counted among the false ones of a video.
        megabytes: that pictures and clips may take together.
    """

    clips: int = 6
    min_score: float = 0.3
    megabytes: float = 20.0

    def __post_init__(self) -> None:
        if self.clips < 0 or self.megabytes < 0:
            raise ValueError(f"clips and megabytes must not be negative, got {self.clips} and {self.megabytes}")


@dataclass(frozen=True, slots=True)
class Results:
    """A results file, what it is scored against, and where the frames are (None: as datasets usually have them)."""

    results: Path
    truth: Path
    frames: Path | None = None


def write_report(
    output: str | os.PathLike[str],
    *,
    history: RunHistory | None,
    results: Results | None,
    missing: str | None = None,
    limits: Limits = Limits(),
    progress: Callable[[str], None] = lambda _: None,
) -> int:
    """Writes the page, whole or not at all; returns its size in bytes.

    Args:
        output: an earlier report is replaced, no other file.
        history: of the run; None for results alone.
        results: what to score; None where there are none.
        missing: why there are none, for the reader.
        progress: called with what is being done.

    Raises:
        DataError: results or ground truth that can't be used.
        OutputError: the file can't be written, or is not a report's.
    """
    require_place(output)
    scored, footage, seconds = None, None, {}
    if results is not None:
        progress("scoring")
        truth = GroundTruth.load(results.truth)
        truth.require_objects()
        scored = score(truth, load_predictions(results.results, truth), min_score=limits.min_score)
        footage = open_footage(results.truth, results.frames, how="`frames=FOLDER` says where they are")
        seconds = read_times(results.results.with_name(TIMES))
    room = Room(int(limits.megabytes * 1e6))
    sections: dict[str, Markup] = {}
    if history is not None:
        sections["Overview"] = _overview(history, results, missing)
        sections["Curves"] = of_run.curves(history)
    if scored is not None:
        sections |= _of_results(scored, footage, seconds, room, limits, progress)
    if history is not None:
        sections["Setup"] = of_run.setup(history)
    else:
        assert results is not None
        sections["Setup"] = section("setup", "Files", _files(results))
    text = _page(history, results, scored, sections, remarks=_remarks(history, results, scored, room))
    with atomic_open(output, "wb") as file:
        content = text.encode("utf-8")
        file.write(content)
    return len(content)


def require_place(output: str | os.PathLike[str]) -> None:
    """Raises OutputError where a report can't be put: a name of another kind, or a file that is not a report."""
    path = Path(output)
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"cannot write {path}: a report's name ends in .html")
    try:
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file:
                if _MARK not in file.read(_HEAD_BYTES):
                    raise OutputError(f"{path} exists already and is not a report of stmask's: give another output")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _overview(history: RunHistory, results: Results | None, missing: str | None) -> Markup:
    files = _files(results) if results is not None else None
    return section("overview", "Overview", of_run.facts(history), files, note(missing) if missing else None)


def _of_results(
    scored: Scored,
    footage: Footage | None,
    seconds: Mapping[int, float],
    room: Room,
    limits: Limits,
    progress: Callable[[str], None],
) -> dict[str, Markup]:
    chosen = of_videos.clips_to_show(scored, seconds, limits.clips)
    errors = of_results.errors(scored, footage, room, lambda: progress("drawing errors"))
    clips = of_videos.clips(scored, footage, room, chosen=chosen, progress=lambda: progress("drawing clips"))
    return {
        "Metrics": of_results.metrics(scored),
        "Classes": of_results.classes(scored),
        "Errors": errors,
        "Clips": clips,
        "Videos": of_videos.videos(scored, footage, seconds),
    }


def _remarks(history: RunHistory | None, results: Results | None, scored: Scored | None, room: Room) -> Markup:
    parts = [of_videos.remarks(room)]
    if history is not None and history.validations and results is not None and scored is not None:
        recorded, found = history.best.metrics.get("AP", -1.0), scored.report.stats["AP"]
        if results.results.parent == history.best.folder and abs(recorded - found) > _SAME:
            why = "it validated a part of these videos, or the annotations were changed since"
            parts.append(note(f"The run recorded AP {100 * recorded:.1f}, not {100 * found:.1f}: {why}."))
    return join(*parts)


def _files(results: Results) -> Markup:
    return definitions(
        {
            "results": name(results.results),
            "ground truth": name(results.truth),
            "frames": None if results.frames is None else name(results.frames),
        }
    )


def _page(
    history: RunHistory | None,
    results: Results | None,
    scored: Scored | None,
    sections: Mapping[str, Markup],
    *,
    remarks: Markup | None,
) -> str:
    if history is not None:
        heading = f"{history.config.get('name') or history.folder.resolve().name}"
        said = [str(history.folder), f"seed {history.config.get('seed')}", history.status.state]
    else:
        assert results is not None
        heading, said = results.results.name, [f"scored against {results.truth}"]
    values: Mapping[str, float] = history.best.metrics if history is not None and history.validations else {}
    if scored is not None:
        values = scored.report.stats
        said.append(f"{len(scored.videos)} videos")
    links = [tag("li", tag("a", title, href=f"#{title.lower()}")) for title in sections]
    text = Template(files("stmask.report").joinpath("page.html").read_text(encoding="utf-8"))
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return text.substitute(
        title=escape(f"{heading} - stmask report"),
        heading=name(heading),
        subtitle=join(*_between([name(word) for word in said], " · ")),
        summary=join(of_results.tiles(values), remarks),
        links=join(*links),
        sections=join(*sections.values()),
        footer=tag("p", f"Written by stmask {version('stmask')}, {now}. AP and AR in percent, -: undefined."),
    )


def _between(parts: list[Markup], text: str) -> list[Markup]:
    return [piece for part in parts for piece in (escape(text), part)][1:]
