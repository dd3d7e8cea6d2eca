"""torch.export's own format, for programs of PyTorch. stmask does not run it: see docs/export.md."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from stmask.exports._stages import RunNamed
    from stmask.models import Stage, VideoModel

SUMMARY = "programs of torch.export"
SUFFIX = ".pt2"


def write(model: VideoModel, path: str | os.PathLike[str]) -> str:
    """Writes a file for each stage, read back and compared.

    Raises:
        ConfigError: a model that can't be exported.
        OutputError: as `write_stages`.
    """
    from stmask.exports._stages import write_stages

    return write_stages(model, path, _write, suffixes=(SUFFIX,))


def _write(program: torch.export.ExportedProgram, stage: Stage, entry: str, paths: Sequence[Path]) -> RunNamed:
    import torch

    from stmask.exports._stages import quiet
    from stmask.runtimes.files import KEY

    with quiet():
        torch.export.save(program, paths[0], extra_files={KEY: entry})
        written = torch.export.load(paths[0]).module()

    def run(*inputs: Tensor) -> dict[str, Tensor]:
        return dict(zip(stage.outputs, written(*inputs), strict=True))

    return run
