"""Reads what W&B wrote to a run's folder offline, without its service and without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        summary: the latest value of each metric, or what was set in its place.
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
        """The values of one metric, in order."""
        return [row[name] for row in self.rows if name in row]

    def file(self, name: str) -> Path:
        """A file of the run on this disk, of the latest piece that has it."""
        return next(folder / name for folder in reversed(self.folders) if (folder / name).exists())


def read_offline(folder: Path) -> OfflineRun:
    """The W&B run in the folder of a training run."""
    files = sorted(folder.glob("wandb/*run-*/*.wandb"), key=lambda file: file.parent.name)
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


def _records(file: Path) -> Iterator[dict[str, Any]]:
    """What W&B's own reader says, a record a line."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return (json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{"))


def _artifact(content: dict[str, Any]) -> Artifact:
    entries = content.get("manifest", {}).get("contents", [])
    return Artifact(
        name=content["name"],
        kind=content["type"],
        aliases=tuple(content.get("aliases", ())),
        files=tuple(entry["path"] for entry in entries),
    )
