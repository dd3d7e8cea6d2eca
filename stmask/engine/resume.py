"""What a run goes on from, and what it may not go on from."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from stmask.engine.checkpoint import card_of, check_weights, network_weights, read_file
from stmask.engine.identity import config_changes
from stmask.engine.run_config import config_beside
from stmask.engine.run_folder import RunFolder, is_first_process
from stmask.errors import CheckpointError, ConfigError
from stmask.models import STMask

_AUTO = "auto"
_SHOWN = 5


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


def check_content(checkpoint: Path, model: STMask) -> None:
    """Refuses a checkpoint that no training of this network can go on from.

    Raises:
        CheckpointError: it is no training's, or another network's.
    """
    source = str(checkpoint)
    content = read_file(source)
    card_of(content, source=source)
    check_weights(model, network_weights(content), source=source)
    if "optimizer_states" not in content:
        raise CheckpointError(f"{source} holds weights only, no training to go on with: give it as init_from")


def _refuse_overwriting(folder: RunFolder) -> None:
    if is_first_process() and any(folder.checkpoints.glob("*.ckpt")):
        raise ConfigError(
            f"{folder.path} holds a run already: go on with it (resume=auto), give another output_dir, or remove it"
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
