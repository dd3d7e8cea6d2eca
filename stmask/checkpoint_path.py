"""What a checkpoint may be given by besides its file: a name, a run's folder, `last`, an artifact of W&B."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from stmask import hub
from stmask.errors import CheckpointError, ConfigError, DownloadError, StmaskError
from stmask.extras import require
from stmask.runs.find import checkpoint_of, newest_run
from stmask.runs.folder import BEST, CHECKPOINTS, LAST
from stmask.wandb_errors import is_refusal, reason

NEWEST = "last"
_RUNS = "runs"
_WANDB = "wandb:"
_ARTIFACT = re.compile(r"(?P<project>\w[\w.-]*/\w[\w.-]*)/(?P<name>\w[\w.-]*):\w[\w.-]*", re.ASCII)
_VERSION = re.compile(r"v\d+", re.ASCII)
_FILE = re.compile(r"[\w-][\w.-]*\.(ckpt|pth|pt|safetensors)", re.ASCII)
_PLAIN = re.compile(r"[\w./-]+", re.ASCII)  # neither shells nor Hydra read more in it
_TIMEOUT = 30  # seconds until giving up on W&B's server
_log = logging.getLogger(__name__)

Purpose = Literal["checkpoint", "init_from"]


def checkpoint_path(
    said: str | os.PathLike[str], *, purpose: Purpose = "checkpoint", runs: str | os.PathLike[str] = _RUNS
) -> Path:
    """The file that a checkpoint is given by; fetched if it is a name or an artifact, and not here yet.

    Args:
        said: a file; a run's folder, for its best checkpoint, or its last one if nothing was validated; `last`, for the
            newest run; a name of `stmask weights list`; or `wandb:ENTITY/PROJECT/NAME:VERSION`, an artifact of W&B. A
            file or folder that is called like one of the words is `./NAME`.
        purpose: the key that it is given for.
        runs: the folder below which `last` looks.

    Raises:
        CheckpointError: a folder without checkpoints, or a file that is not there but could be fetched by its name.
        ConfigError: what can't serve the purpose, or W&B refuses.
        DownloadError: it could not be fetched.
    """
    text = os.fspath(said)
    if text.startswith(_WANDB):
        return artifact_path(text.removeprefix(_WANDB))
    if text in hub.names():
        return hub.fetched(text, to_serve=purpose)
    if text == NEWEST:
        if purpose != "checkpoint":
            raise ConfigError(f"{purpose}={NEWEST} would be another run each time: give the folder of one")
        path = newest_run(runs)
        _log.info("the newest run is %s", path)
    else:
        path = Path(text)
    if not path.is_dir():
        _refuse_names(path, purpose)
        return path
    found = checkpoint_of(path)
    if found is None:
        raise CheckpointError(f"{path} holds no {CHECKPOINTS}/{BEST} or {LAST}: give a checkpoint, or a run's folder")
    _log.info("%s=%s", purpose, found)
    return found


def require_file(said: str | os.PathLike[str], *, purpose: Purpose = "checkpoint") -> None:
    """Refuses a file that is not on this machine; what would be fetched by its name is left to when it is needed.

    Raises:
        CheckpointError, ConfigError: as `checkpoint_path`, or no such file.
    """
    text = os.fspath(said)
    if text.startswith(_WANDB) or text in hub.names():
        return
    path = checkpoint_path(text, purpose=purpose)
    if not path.exists():
        raise CheckpointError(f"cannot read the checkpoint {path}: no such file")


def evaluation_command(folder: str | os.PathLike[str], *, split: str | None = None, trust: Sequence[str] = ()) -> str:
    """What to type, where this process was started, to evaluate the run in a folder.

    Args:
        folder: of the run.
        split: of the dataset; None for the one that the run was validated with.
        trust: classes of the user's that the checkpoint names.
    """
    from stmask.config_overrides import argument

    path = Path(folder).absolute()
    near = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    said = str(near) if len(near.parts) > 1 else f".{os.sep}{near}"  # a single word could be a name
    words = [f"checkpoint={said}" if _PLAIN.fullmatch(said) else argument("checkpoint", said)]
    words += [] if split is None else [f"split={split}" if _PLAIN.fullmatch(split) else argument("split", split)]
    words += [shlex.quote(f"trust=[{','.join(trust)}]")] if trust else []
    return " ".join(["stmask evaluate", *words])


def _refuse_names(path: Path, purpose: Purpose) -> None:
    """Says of a file that is not there by which name it can be had, if it is a published one or nearly called so."""
    near = hub.nearest_name(path.name)
    if near is not None and not os.path.lexists(path):
        raise CheckpointError(f"cannot read the checkpoint {path}: no such file; {purpose}={near} fetches it")


def artifact_path(said: str, *, api: Any = None) -> Path:
    """The checkpoint in an artifact of W&B, kept in the cache and compared with W&B's digest.

    Args:
        said: ENTITY/PROJECT/NAME:VERSION, where the version may be an alias: best, last, v3.
        api: a `wandb.Api`, made from the user's key if none is given.

    Raises:
        ConfigError: no such artifact, no key, or one that is refused.
        CheckpointError: an artifact with something else in it.
        DownloadError: the server can't be reached.
    """
    asked = _ARTIFACT.fullmatch(said)
    if asked is None:
        raise ConfigError(f"{_WANDB}{said} must be {_WANDB}ENTITY/PROJECT/NAME:VERSION, such as NAME:best")
    with _explained(said):
        artifact = (api or _connect(said)).artifact(said)
        held, version = sorted(artifact.manifest.entries), str(artifact.version)
        files = [name for name in held if _FILE.fullmatch(name)]
        if len(files) != 1 or not _VERSION.fullmatch(version):
            what = ", ".join(held[:3]) or "nothing"
            raise CheckpointError(f"the artifact {said} does not hold one checkpoint ({version} holds {what})")
        path: Path = hub.cache_folder() / "wandb" / asked["project"] / f"{asked['name']}-{version}" / files[0]
        with hub.locked(path):
            artifact.get_entry(files[0]).download(root=str(path.parent), skip_cache=True)
    _log.info("%s is version %s, kept as %s", said, version, path)
    return path


def _connect(said: str) -> Any:
    require("wandb", what=f"{_WANDB}{said}")
    import wandb

    wandb.setup(wandb.Settings(silent=True))  # it asks no questions
    return wandb.Api(timeout=_TIMEOUT)


@contextmanager
def _explained(said: str) -> Iterator[None]:
    """W&B's errors about an artifact, in words."""
    try:
        yield
    except StmaskError:
        raise
    except Exception as error:
        if is_refusal(error):
            raise ConfigError(
                f"W&B has no artifact {said} for you ({reason(error)}): log in with `wandb login` or set a valid "
                "WANDB_API_KEY, and check ENTITY/PROJECT/NAME:VERSION"
            ) from error
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] != "wandb":
            raise
        raise DownloadError(f"W&B does not give the artifact {said} ({reason(error)}): try again later") from error
