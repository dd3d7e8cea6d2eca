"""Loads models, ready to use, from files of weights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from stmask.checkpoint_path import checkpoint_path
from stmask.checkpoints import construct, registry
from stmask.checkpoints.format import is_ours, load_model
from stmask.errors import ConfigError
from stmask.inference.segmenter import VideoSegmenter
from stmask.models import VideoModel
from stmask.models.layers.folding import prepare_for_inference
from stmask.ops.frames import FramePreprocessor
from stmask.ops.kernels import computes_bfloat16
from stmask.runtimes import is_exported, load_exported
from stmask.weights import read_file

if TYPE_CHECKING:
    from stmask.official import InitReport


def load(
    path: str | os.PathLike[str],
    *,
    model: Mapping[str, Any] | None = None,
    trust: Iterable[str | Callable[..., Any]] = (),
) -> VideoModel:
    """The model in a checkpoint, in evaluation mode; `model.card` says how it was trained.

    Args:
        path: a checkpoint of a run, what `stmask import` or `save_model` wrote, what `stmask export` wrote for another
            runtime, or a file of the authors' weights; or a word for one: a run's folder, a name of published weights,
            which are fetched, .., see `stmask.checkpoint_path`.
        model: changes of its configuration, laid over what the checkpoint says: {"tracker": {"max_age": 5}}. A part
            with a `_target_` replaces the checkpoint's.
        trust: your own classes, or their names, that the checkpoint may name; see `stmask.register`. Those that
            `model` names are trusted anyway.

    Raises:
        CheckpointError: missing, broken, of another project, or naming a class that is not registered.
        ConfigError: a change that does not exist or cannot work.
        DownloadError: weights that could not be fetched.
    """
    path = checkpoint_path(path)
    registry.trust([*trust, *construct.names_in(model or {})])  # the user's own words
    if is_exported(path):
        return load_exported(path, changes=model)
    content = read_file(path)
    if is_ours(content):
        return load_model(content, source=str(path), changes=model)
    from stmask import official  # other people's files are the rare case

    return official.load(path, changes=model)


def initialise(
    model: VideoModel,
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str] = (),
    preprocessor: FramePreprocessor | None = None,
) -> InitReport:
    """Initialises a freshly built model with every tensor of a file that fits: ours, or one of other people's.

    Args:
        path: as of `load`.
        class_names: of the model's labels; see `official.initialise`.
        preprocessor: of the model's frames; likewise.

    Raises:
        CheckpointError: no such file, or too little in it fits.
    """
    from stmask import official

    source = checkpoint_path(path, purpose="init_from")
    return official.initialise(model, source, class_names=class_names, preprocessor=preprocessor)


def load_segmenter(
    path: str | os.PathLike[str],
    *,
    model: Mapping[str, Any] | None = None,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
    trust: Iterable[str | Callable[..., Any]] = (),
) -> VideoSegmenter:
    """A segmenter for the model in a checkpoint, whose batch norms are folded into its convolutions.

    Args:
        path, model, trust: as `load`.
        device: default the CPU.
        autocast: half precision type for the network.

    Raises:
        CheckpointError, ConfigError: as `load`; or another device or precision than an exported model runs in.
    """
    path = checkpoint_path(path)
    if is_exported(path) and (autocast is not None or (device is not None and torch.device(device).type != "cpu")):
        raise ConfigError(f"{path} is run on the CPU in float32: give device=cpu, or the checkpoint in place of it")
    network = load(path, model=model, trust=trust)
    prepare_for_inference(network)
    return VideoSegmenter(network, device=device, autocast=autocast)


def pick_device(name: Any) -> torch.device:
    """Resolves a device; `auto` is the first GPU if there is one, else the CPU.

    Raises:
        ConfigError: not one of auto, cpu, cuda and cuda:N, or a GPU that does not exist here.
    """
    match = re.fullmatch(r"(auto|cpu|cuda)|cuda:([0-9]{1,9})", name) if isinstance(name, str) else None
    if match is None:
        shown = "null" if name is None else repr(name)
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {shown}")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if match[1] == "auto":
        return torch.device("cuda" if gpus else "cpu")
    if match[1] != "cpu" and int(match[2] or 0) >= gpus:
        raise ConfigError(f"device={name}: this machine has {gpus} GPUs that PyTorch can use")
    return torch.device(name)


def half_precision(device: torch.device) -> torch.dtype:
    """The half precision type for networks on a device: bfloat16, whose range is float32's, where it is computed fast.

    Raises:
        ConfigError: a CPU without instructions for it.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if not computes_bfloat16():
        raise ConfigError("half=true: this CPU computes no bfloat16; leave it out, or give device=cuda")
    return torch.bfloat16
