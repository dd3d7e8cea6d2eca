"""What an evaluation leaves in its folder besides results and metrics: what it was of, so that it is made only once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from stmask.errors import ConfigError, DataError
from stmask.files import read_json, write_json
from stmask.runs.validations import RESULTS
from stmask.signatures import check_arguments

RECORD, METRICS = "evaluation.json", "metrics.json"
TABLE = "splits.csv"  # of several splits, in the folder above theirs
_PLACES = ("checkpoint", "annotations")  # the digests say what lies there


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """What was evaluated with what.

    Attributes:
        checkpoint, checkpoint_sha256: the file and the digest of its content.
        split: its name; None: the one that the run was validated with.
        annotations, annotations_sha256: the file and the digest of its content.
        benchmark, version: that the annotation file states, if it does.
        settings: what was laid over the checkpoint's own configuration.
        stmask: the version of this package.
    """

    checkpoint: str
    checkpoint_sha256: str
    split: str | None
    annotations: str
    annotations_sha256: str
    benchmark: str | None = None
    version: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    stmask: str = ""

    def write(self, folder: Path) -> None:
        """Writes it beside the results, which must be there already."""
        write_json(folder / RECORD, asdict(self), indent=1)

    def is_of(self, folder: Path) -> bool:
        """Whether a folder has the results and metrics of such an evaluation, wherever the files lay."""
        try:
            found = read_evaluation(folder)
        except DataError:
            return False
        if found is None or not all((folder / name).is_file() for name in (RESULTS, METRICS)):
            return False
        return _content(found) == _content(self)


def _content(record: EvaluationRecord) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if name not in _PLACES}


def read_evaluation(folder: str | os.PathLike[str]) -> EvaluationRecord | None:
    """What the results in a folder are of; None where nothing says so.

    Raises:
        DataError: the file can't be read as that.
    """
    path = Path(folder) / RECORD
    if not path.exists():
        return None
    content = read_json(path)
    try:
        known = {one.name for one in fields(EvaluationRecord)}
        said = {name: value for name, value in content.items() if name in known}
        check_arguments(EvaluationRecord, said, key=RECORD)
        record = EvaluationRecord(**said)
    except (TypeError, AttributeError, ConfigError) as error:
        raise DataError(f"{path} is not as evaluation writes it ({error})") from error
    return record


def read_evaluations(folder: str | os.PathLike[str]) -> dict[str, tuple[Path, EvaluationRecord]]:
    """The folders and records of the evaluations of several splits that lie in a folder, by the split's name.

    Raises:
        DataError: a record can't be read.
    """
    found = {}
    for path in sorted(Path(folder).glob(f"*/{RECORD}")):
        if (record := read_evaluation(path.parent)) is not None:
            found[path.parent.name] = (path.parent, record)
    return found
