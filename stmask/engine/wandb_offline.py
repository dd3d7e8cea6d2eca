"""Reads what W&B wrote to a run's folder offline, without its service and without a network."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stmask.engine.wandb_environment import FOLDER
from stmask.errors import DataError

RUN_ID_FILE = Path("wandb") / "run-id.txt"  # in the run's folder


@dataclass(frozen=True, slots=True)
class Artifact:
    """A named version of some files: its kind, its aliases, the names of the files in it."""

    name: str
    kind: str
    aliases: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfflineRun:
    """One W&B run; the pieces of one that was interrupted and went on are put together.

    Attributes:
        run_id, name, project, group, tags: as W&B would show them.
        config: the configuration.
        summary: the latest value of each figure, or what was set in its place.
        rows: what was logged, in order; media are spread over keys such as "validation/film.path".
        artifacts: in order.
        files: paths of media and saved files, below `folders`.
        folders: of the pieces' files.
        exit_code: of the last piece; None while it runs, or after a kill.
    """

    run_id: str
    name: str
    project: str
    group: str | None
    tags: tuple[str, ...]
    config: dict[str, Any]
    summary: dict[str, Any]
    rows: tuple[dict[str, Any], ...]
    artifacts: tuple[Artifact, ...]
    files: tuple[str, ...]
    folders: tuple[Path, ...]
    exit_code: int | None

    def history(self, name: str) -> list[Any]:
        """The values of one figure, in order."""
        return [row[name] for row in self.rows if name in row]

    def file(self, name: str) -> Path:
        """A file of the run on this disk, of the latest piece that has it.

        Raises:
            DataError: it is not there.
        """
        for folder in reversed(self.folders):
            if (folder / name).exists():
                return folder / name
        raise DataError(f"the W&B run {self.run_id} has no file {name}")


def read_offline(folder: str | os.PathLike[str]) -> OfflineRun:
    """The W&B run in the folder of a training run.

    Args:
        folder: of the run; W&B's is wandb/ in it, or in WANDB_DIR.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    files = _run_files(folder)
    if not files:
        raise DataError(f"no W&B run in {folder}: it was trained without logger=wandb")
    described: dict[str, Any] = {}
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    artifacts: list[Artifact] = []
    kept: list[str] = []
    exit_code: int | None = None
    for file in files:
        exit_code = None
        for record in _records(file):
            content = record.get(record["type"], {})
            match record["type"]:
                case "run":
                    described = content
                    config |= content.get("config", {}).get("update", {})
                case "config":
                    config |= content.get("update", {})
                case "summary":
                    summary |= content.get("update", {})
                case "history":
                    rows.append(content["item"])
                case "artifact":
                    artifacts.append(_artifact(content))
                case "files":
                    kept += [entry["path"] for entry in content["files"]]
                case "exit":
                    exit_code = int(content.get("exit_code", 0))
    return OfflineRun(
        run_id=described.get("run_id", ""),
        name=described.get("display_name", ""),
        project=described.get("project", ""),
        group=described.get("run_group"),
        tags=tuple(described.get("tags", ())),
        config={key: value for key, value in config.items() if key != "_wandb"},
        summary=summary,
        rows=tuple(rows),
        artifacts=tuple(artifacts),
        files=tuple(dict.fromkeys(kept)),
        folders=tuple(file.parent / "files" for file in files),
        exit_code=exit_code,
    )


def describe_offline(folder: str | os.PathLike[str]) -> str:
    """A few lines on the W&B run in the folder of a training run, or that there is none."""
    if not _run_files(folder):
        return "not logged to W&B: train with logger=wandb"
    run = read_offline(folder)
    artifacts = [f"{artifact.name} ({', '.join(artifact.aliases)})" for artifact in run.artifacts if artifact.aliases]
    lines = [
        f"{run.name} ({run.run_id}) of project {run.project}" + (f", group {run.group}" if run.group else ""),
        f"{len(run.rows)} rows, {len(run.files)} files, in {len(run.folders)} pieces",
        *(f"artifact {name}" for name in dict.fromkeys(artifacts) if not name.startswith("run-")),
    ]
    return "\n".join(lines)


def run_id_of(folder: str | os.PathLike[str]) -> str | None:
    """The id in W&B of the run in a folder; None where it was not logged to W&B."""
    file = Path(folder) / RUN_ID_FILE
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


def _run_files(folder: str | os.PathLike[str]) -> list[Path]:
    found = list(Path(folder).glob("wandb/*run-*/*.wandb"))
    elsewhere, run_id = os.environ.get(FOLDER), run_id_of(folder)
    if elsewhere and run_id:
        found += Path(elsewhere).glob(f"wandb/*run-*-{glob.escape(run_id)}/*.wandb")
    return sorted(set(found), key=lambda file: file.parent.name)


def _records(file: Path) -> Iterator[dict[str, Any]]:
    """What W&B's own reader says, a record a line; a file that was cut short ends early."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    records = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    if not records:
        reason = next(iter(ran.stderr.strip().splitlines()[-1:]), "it is empty")
        raise DataError(f"cannot read {file}: {reason}")
    yield from records


def _artifact(content: dict[str, Any]) -> Artifact:
    entries = content.get("manifest", {}).get("contents", [])
    return Artifact(
        name=content["name"],
        kind=content["type"],
        aliases=tuple(content.get("aliases", ())),
        files=tuple(entry["path"] for entry in entries),
    )
