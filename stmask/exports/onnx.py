"""ONNX, for onnxruntime and others; stmask itself runs it too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stmask.extras import require

if TYPE_CHECKING:
    import torch

    from stmask.exports._stages import RunNamed
    from stmask.models import Stage, VideoModel

SUMMARY = "a graph for onnxruntime and others"
SUFFIX = ".onnx"
OPSET = 20  # DeformConv: from 19 on


def write(model: VideoModel, path: str | os.PathLike[str]) -> str:
    """Writes a file for each stage, compared with PyTorch by onnxruntime.

    Raises:
        ConfigError: a package is missing, or a model that can't be exported.
        OutputError: as `write_stages`.
    """
    from stmask.exports._stages import write_stages

    return write_stages(model, path, _write, suffixes=(SUFFIX,))


def onnx_bytes(program: torch.export.ExportedProgram, stage: Stage, entry: str) -> bytes:
    """A traced stage as ONNX.

    Raises:
        ConfigError: a package is missing.
    """
    require("onnxruntime", what="ONNX")
    require("onnxscript", what="ONNX")
    import torch

    from stmask.exports._stages import quiet
    from stmask.runtimes.files import KEY

    with quiet():
        made: Any = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(stage.inputs),
            output_names=list(stage.outputs),
            verbose=False,
        )
    made.model.metadata_props[KEY] = entry
    content: bytes = made.model_proto.SerializeToString()
    return content


def _write(program: torch.export.ExportedProgram, stage: Stage, entry: str, paths: Sequence[Path]) -> RunNamed:
    from stmask.runtimes.onnx import OnnxStage

    content = onnx_bytes(program, stage, entry)
    paths[0].write_bytes(content)
    return OnnxStage(content, source=paths[0])
