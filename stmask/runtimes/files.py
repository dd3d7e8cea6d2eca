"""The files of an exported model: one for each stage, side by side, and what is written into them.

The first stage's file is the one that is named, and has the model's card in it; `net.onnx` is followed by
`net.temporal.onnx`. All of an export carry the same mark, so that files of different ones are not mixed up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stmask.checkpoints import ModelCard
from stmask.checkpoints.format import entry_of
from stmask.errors import CheckpointError
from stmask.files import JSON, not_json
from stmask.models import RunStage, VideoModel
from stmask.signatures import shown

KEY = "stmask"
"""Of the entry in a file's own metadata."""
_LONGEST = 10_000_000  # characters of the entry


class StageFile(RunStage, Protocol):
    """A stage that was read from a file.

    Attributes:
        metadata: texts by name, as the file has them.
        sizes: of each input; None where an axis may have any.
    """

    metadata: Mapping[str, str]
    sizes: Mapping[str, Sequence[int | None]]


def stage_path(path: Path, stage: str, *, first: str) -> Path:
    """Where a stage of the model at `path` is."""
    return path if stage == first else path.with_name(f"{path.stem}.{stage}{path.suffix}")


def entries(model: VideoModel, stages: Sequence[str]) -> dict[str, str]:
    """What the file of each stage says under `KEY`."""
    card: ModelCard = model.card
    digest = hashlib.sha256(json.dumps(card.to_dict()).encode())
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    common = {**entry_of(model.card), "export": digest.hexdigest()[:16]}
    first = {**common, "stages": list(stages)}
    other = json.dumps({"export": common["export"]})
    return {name: other if number else json.dumps(first) for number, name in enumerate(stages)}


def read_entry(metadata: Mapping[str, str], *, source: Path) -> dict[str, Any]:
    """What a file says under `KEY`: its `export`; in the first file also what `checkpoints.format.entry_of` gives, and
    `stages`.

    Raises:
        CheckpointError: nothing, as in files that stmask did not write, or something else.
    """
    text = metadata.get(KEY)
    if text is None:
        raise CheckpointError(f"{source} was not written by `stmask export`: it does not say which model it is")
    try:
        values = JSON.decode(text) if len(text) <= _LONGEST else None
    except (ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{source} is damaged: what it says about its model {not_json(error)}") from error
    if not isinstance(values, dict) or not isinstance(values.get("export"), str):
        raise CheckpointError(f"{source} is damaged: it says {shown(values)} about its model")
    stages = values.get("stages", [])
    if not isinstance(stages, list) or not all(isinstance(name, str) and name.isidentifier() for name in stages):
        raise CheckpointError(f"{source} names stages that no export has: {shown(stages)}")
    return values
