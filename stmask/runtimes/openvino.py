"""OpenVINO's own files (.xml, the weights in .bin beside it), run by OpenVINO."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stmask.errors import CheckpointError, one_line
from stmask.runtimes.files import KEY

SUFFIX = ".xml"
OUTPUTS = f"{KEY}_outputs"
"""Of the names of the outputs, in order, in a file's metadata: OpenVINO has several names for a tensor."""


class OpenVinoStage:
    """A `StageFile` of OpenVINO on the CPU in float32, with as many threads as PyTorch has."""

    def __init__(self, model: Any, *, source: Path) -> None:
        """`model`: an `openvino.Model`."""
        import openvino

        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        # In a thread: OpenVINO gives the one that compiles a stack for signals, frees it with the model, and leaves it
        # set, so that the next Ctrl-C in that thread would be a segmentation fault.
        with ThreadPoolExecutor(1) as thread:
            self._compiled = thread.submit(openvino.Core().compile_model, model, "CPU", settings).result()
        self._source = source
        self.metadata = {key: model.get_rt_info(key).astype(str) for key in (KEY, OUTPUTS) if model.has_rt_info(key)}
        self.inputs = [one.get_any_name() for one in self._compiled.inputs]
        self.outputs = self.metadata.get(OUTPUTS, "").split(",")
        self.sizes = {
            one.get_any_name(): [None if axis.is_dynamic else axis.get_length() for axis in one.get_partial_shape()]
            for one in self._compiled.inputs
        }

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The outputs by name.

        Raises:
            CheckpointError: inputs of other shapes or types than the file is for.
        """
        arrays = [value.detach().cpu().contiguous().numpy() for value in inputs]
        try:
            found = self._compiled(arrays)  # copies what comes out
        except Exception as error:
            raise CheckpointError(f"{self._source} can't be run: {one_line(error)}") from error
        return {name: torch.from_numpy(found[index]) for index, name in enumerate(self.outputs)}


def read(path: Path) -> OpenVinoStage:
    """The stage in a file."""
    import openvino

    try:
        return OpenVinoStage(openvino.Core().read_model(path), source=path)
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a model of OpenVINO, or not a whole one: {one_line(error)[:200]}"
        ) from error
