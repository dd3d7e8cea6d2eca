"""What a run goes on from, and what it may not go on from."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from stmask.checkpoints.format import card_of, check_weights, network_weights
from stmask.errors import CheckpointError, ConfigError, StmaskError
from stmask.models import VideoModel
from stmask.runs.config import config_beside
from stmask.runs.folder import RunFolder, status_of
from stmask.runs.identity import config_changes
from stmask.signatures import shown
from stmask.weights import read_file

_AUTO = "auto"
_SHOWN = 5
_MOST_STEPS = 2**53


def checkpoint_to_resume(cfg: DictConfig, folder: RunFolder) -> Path | None:
    """The checkpoint that `cfg.resume` means; None for a run that begins.

    Raises:
        CheckpointError: there is no such file.
        ConfigError: another configuration than the run that wrote it, or a beginning in the folder of another run.
    """
    if cfg.resume is None:
        _refuse_overwriting(folder)
        return None
    if cfg.resume == _AUTO:
        if not folder.last.exists():
            _refuse_beginning_anew(folder)
            return None
        checkpoint = folder.last
    else:
        checkpoint = Path(cfg.resume)
        if not checkpoint.is_file():
            raise CheckpointError(f"no such checkpoint to resume from: {checkpoint}")
        if checkpoint.resolve().parent != folder.checkpoints.resolve():
            _refuse_overwriting(folder)
    _refuse_changes(cfg, checkpoint)
    return checkpoint


def check_content(checkpoint: Path, model: VideoModel) -> None:
    """Refuses a checkpoint that no run of this network can go on from.

    Raises:
        CheckpointError: it is not a training run's, or it is another network's.
    """
    source = str(checkpoint)
    content = read_file(source)
    card = card_of(content, source=source)
    try:
        check_weights(model, network_weights(content, source=source), source=source)
    except CheckpointError as error:
        if card.network == (trained := type(model).__name__):
            raise
        raise CheckpointError(
            f"{source} is of a run that trains a {card.network}, and this one trains a {trained}: begin another run "
            "from its weights, with init_from and another output_dir"
        ) from error
    steps = [content.get(name) for name in ("epoch", "global_step")]
    if "optimizer_states" in content and not all(type(step) is int and 0 <= step < _MOST_STEPS for step in steps):
        raise CheckpointError(
            f"{source} says that it was written in epoch {shown(steps[0])} after {shown(steps[1])} steps"
        )
    if "optimizer_states" not in content:
        raise CheckpointError(f"{source} holds weights only, not a run to go on with: give it as init_from")


@contextmanager
def taking_up(checkpoint: Path | None) -> Iterator[None]:
    """Says of what fails while Lightning takes up the state in a checkpoint that the checkpoint is the cause.

    Raises:
        CheckpointError: the state in it is not one of this run.
    """
    try:
        yield
    except StmaskError:
        raise
    except Exception as error:
        frames = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
        if checkpoint is None or not any(name.endswith("checkpoint_connector.py") for name in frames):
            raise
        raise CheckpointError(
            f"{checkpoint} holds no state that this training run can go on from ({shown(error)}): give it as init_from"
        ) from error


def _refuse_overwriting(folder: RunFolder) -> None:
    if folder.first and any(folder.checkpoints.glob("*.ckpt")):
        raise ConfigError(
            f"{folder.path} holds a run already: go on with it (resume=auto), give another output_dir, or remove it"
        )


def _refuse_beginning_anew(folder: RunFolder) -> None:
    if folder.first and folder.best.exists() and status_of(folder.path).state == "done":
        raise ConfigError(
            f"{folder.path} is done and kept no last.ckpt to go on from: give another output_dir, or remove it"
        )


def _refuse_changes(cfg: DictConfig, checkpoint: Path) -> None:
    before = config_beside(checkpoint)
    if before is None:
        return
    changes = config_changes(before, cfg)
    if changes:
        more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        raise ConfigError(
            f"{checkpoint} was written with another configuration ({'; '.join(changes[:_SHOWN])}{more}): go on with "
            "the same one, or begin another run from its weights, with init_from and another output_dir"
        )
