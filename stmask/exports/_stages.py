"""What the formats of other runtimes share: tracing a model's stages, comparing and writing them."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from stmask.checkpoints import registry
from stmask.errors import ConfigError, OutputError, StmaskError, one_line
from stmask.files import atomic_path
from stmask.models import Exportable, Stage, VideoModel
from stmask.runtimes.files import entries, stage_path

TOLERANCE = 1e-3
"""Of each output: its largest difference from PyTorch's, as a share of its largest value or of 1."""
RunNamed = Callable[..., Mapping[str, Tensor]]
WriteStage = Callable[[torch.export.ExportedProgram, Stage, str, Sequence[Path]], RunNamed]


def write_stages(model: VideoModel, path: str | os.PathLike[str], write: WriteStage, *, suffixes: Sequence[str]) -> str:
    """Writes every stage of a model and compares it with PyTorch; all files appear, or none.

    Args:
        write: given a traced stage, the stage, what its file is to say about itself, and a path for each suffix, writes
            the files and returns what runs them.
        suffixes: of the files of a stage; that of `path` first.

    Returns:
        What was written, in words.

    Raises:
        ConfigError: a model that has no stages, or another ending.
        OutputError: a file that can't be written, or one that computes something else.
    """
    target = Path(path)
    if not isinstance(model, Exportable):
        raise ConfigError(
            f"a {type(model).__name__} can't be exported: it has no method `stages` (docs/export.md); of stmask's own "
            f"models {' and '.join(_exportable())} have one"
        )
    if target.suffix != suffixes[0]:
        raise ConfigError(f"{target}: the file must end in {suffixes[0]}")
    stages = model.eval().stages(_frames(model))
    first = next(iter(stages))
    worst = 0.0
    with ExitStack() as files:
        for name, entry in reversed(entries(model, list(stages)).items()):  # the file that is named appears last
            place = stage_path(target, name, first=first)
            paths = [files.enter_context(atomic_path(place.with_suffix(suffix))) for suffix in suffixes]
            with _explained(f"{target}, stage {name}"):
                run = write(_traced(stages[name]), stages[name], entry, paths)
                worst = max(worst, _difference(stages[name], run, name=f"{target}, stage {name}"))
    height, width = model.card.preprocessor.padded_size
    names = ", ".join(str(stage_path(target, name, first=first).name) for name in stages)
    return f"{names}; input {height} x {width}, differs from PyTorch by at most {worst:.1g}"


def _exportable() -> list[str]:
    """Names of stmask's own models that can be exported."""
    parts = (registry.find(name, "model") for name in registry.names_of("model"))
    models = (part for part in parts if isinstance(part, type) and issubclass(part, VideoModel))
    return sorted(model.__name__ for model in models if issubclass(model, Exportable))


def _frames(model: VideoModel) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, *model.card.preprocessor.padded_size, generator=draws)


def _traced(stage: Stage) -> torch.export.ExportedProgram:
    counts = {word: torch.export.Dim(word) for word in stage.free.values()}
    shapes = {name: {0: counts[stage.free[name]]} if name in stage.free else None for name in stage.inputs}
    with torch.no_grad(), quiet():
        return torch.export.export(
            stage.function.eval(), tuple(stage.inputs.values()), dynamic_shapes=tuple(shapes.values()), strict=False
        )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (StmaskError, OSError):
        raise
    except Exception as error:  # of exporters and runtimes: what they don't know they report in all kinds
        raise ConfigError(f"{what} can't be exported: {type(error).__name__}: {one_line(error)[:500]}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what exporters say about their own work out of the terminal; errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@torch.no_grad()
def _difference(stage: Stage, run: RunNamed, *, name: str) -> float:
    """The largest difference from PyTorch, for the example and for the first of whatever is free in it.

    Raises:
        OutputError: above the tolerance.
    """
    worst = 0.0
    for count in (None, 1):
        inputs = [value[:count] if arg in stage.free else value for arg, value in stage.inputs.items()]
        found = run(*inputs)
        for output, wanted in zip(stage.outputs, stage.function(*inputs), strict=True):
            off = float((found[output] - wanted).abs().max() / wanted.abs().max().clamp(min=1))
            worst = max(worst, off)
            if not off <= TOLERANCE:
                raise OutputError(
                    f"{name}: {output} differs from PyTorch's by {off:.1g} of its largest value, more than "
                    f"{TOLERANCE:g}: nothing was written"
                )
    return worst
