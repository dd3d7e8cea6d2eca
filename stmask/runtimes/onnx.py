"""ONNX files, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stmask.errors import CheckpointError, one_line

SUFFIX = ".onnx"


class OnnxStage:
    """A `StageFile` of onnxruntime on the CPU, with as many threads as PyTorch has."""

    def __init__(self, content: bytes, *, source: Path) -> None:
        """
        Raises:
            CheckpointError: not an ONNX file, or one that this version of onnxruntime can't run.
            ImportError: without onnxruntime.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # its threads would wait by spinning, while those of PyTorch work on what comes between
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what goes wrong is raised
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the package has no common class of them
            if "NOT_IMPLEMENTED" in str(error):
                raise CheckpointError(
                    f"onnxruntime {onnxruntime.__version__} lacks an operator of {source}: install a newer one "
                    f"(DeformConv: 1.25 or later; {one_line(error)[:200]})"
                ) from error
            raise CheckpointError(f"{source} is truncated or not an ONNX file: {one_line(error)[:200]}") from error
        self._source = source
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        inputs = self._session.get_inputs()
        self.inputs = [one.name for one in inputs]
        self.outputs = [one.name for one in self._session.get_outputs()]
        self.sizes = {one.name: [axis if isinstance(axis, int) else None for axis in one.shape] for one in inputs}

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The outputs by name.

        Raises:
            CheckpointError: inputs of other shapes or types than the file is for.
        """
        arrays: dict[str, Any] = {
            name: value.detach().cpu().contiguous().numpy() for name, value in zip(self.inputs, inputs, strict=True)
        }
        try:
            found = self._session.run(None, arrays)
        except Exception as error:
            raise CheckpointError(f"{self._source} can't be run: {one_line(error)}") from error
        return dict(zip(self.outputs, map(torch.from_numpy, found), strict=True))


def read(path: Path) -> OnnxStage:
    """The stage in a file; of the file itself alone, none that it refers to."""
    return OnnxStage(path.read_bytes(), source=path)
