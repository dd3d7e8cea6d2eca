"""Paths in a configuration: which keys hold them, and `~` for the home folder."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from stmask.config_check import leaves
from stmask.errors import ConfigError
from stmask.files import at_home

# last parts of the keys whose strings are paths, in our own configurations and in those of Hydra and Lightning
_PATH_NAMES = frozenset(
    {"annotations", "cache", "checkpoint", "dir", "dirpath", "folder", "frames", "init_from", "output", "output_dir",
     "output_root", "results", "resume", "root", "source", "train_annotations", "train_frames", "valid_annotations",
     "valid_frames", "weights"}
)  # fmt: skip


def is_path_key(key: str) -> bool:
    """Whether strings under a key, such as "data.root", are paths."""
    return key.rpartition(".")[2] in _PATH_NAMES


def expand_home(cfg: DictConfig) -> None:
    """Replaces `~` at the beginning of every path of a configuration, in place.

    Raises:
        ConfigError: a path that is empty, which would mean the current folder; see also `at_home`.
    """
    for key, value in leaves(OmegaConf.to_container(cfg, resolve=True)):
        if value == "" and is_path_key(key):
            raise ConfigError(f"{key} is an empty path: leave it out, or give {key}=PATH")
        if isinstance(value, str) and value.startswith("~") and is_path_key(key):
            OmegaConf.update(cfg, key, at_home(value, key))
