"""OpenVINO's own format, two files for each stage: .xml and .bin. stmask itself runs it too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stmask.exports.onnx import onnx_bytes
from stmask.extras import require

if TYPE_CHECKING:
    import torch

    from stmask.exports._stages import RunNamed
    from stmask.models import Stage, VideoModel

SUMMARY = "graphs for OpenVINO"
SUFFIX = ".xml"


def write(model: VideoModel, path: str | os.PathLike[str]) -> str:
    """Writes two files for each stage, compared with PyTorch by OpenVINO.

    Raises:
        ConfigError: a package is missing, or a model that can't be exported.
        OutputError: as `write_stages`.
    """
    from stmask.exports._stages import write_stages

    return write_stages(model, path, _write, suffixes=(SUFFIX, ".bin"))


def _write(program: torch.export.ExportedProgram, stage: Stage, entry: str, paths: Sequence[Path]) -> RunNamed:
    require("openvino", what=SUFFIX)
    import openvino
    from openvino.frontend.onnx import ConversionExtension

    from stmask.runtimes.files import KEY
    from stmask.runtimes.openvino import OUTPUTS, OpenVinoStage

    core = openvino.Core()
    core.add_extension(ConversionExtension("DeformConv", _deform_conv))  # it has the operator, but not by this name
    graph = core.read_model(onnx_bytes(program, stage, entry))
    graph.set_rt_info(",".join(stage.outputs), OUTPUTS)
    graph.set_rt_info(entry, KEY)
    openvino.serialize(graph, *map(str, paths))
    return OpenVinoStage(graph, source=paths[0])


def _deform_conv(node: Any) -> list[Any]:
    import numpy as np
    from openvino import opset8

    x, weight, offsets, bias, *mask = (node.get_input(index) for index in range(node.get_input_size()))
    pads = list(node.get_attribute("pads"))
    result = opset8.deformable_convolution(
        x,
        offsets,
        weight,
        strides=list(node.get_attribute("strides")),
        pads_begin=pads[:2],
        pads_end=pads[2:],
        dilations=list(node.get_attribute("dilations")),
        mask=mask[0] if mask else None,
        bilinear_interpolation_pad=True,
    )
    per_channel = opset8.constant(np.array([1, -1, 1, 1]))
    return [opset8.add(result, opset8.reshape(bias, per_channel, special_zero=False)).output(0)]
