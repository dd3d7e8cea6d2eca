"""The answer to `--help` of a command that is a Hydra application: what `hydra.help.template` says, filled in.

Hydra's own answer lists every group of the search path twice, whether the template names it or not, by composing once
for each: most of a second. Here the folders are read.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

_OF_HYDRA = "hydra"
_FILES = "file"


def help_text(cfg: DictConfig, *, resolve: bool = False) -> str:
    """The help of a composed configuration that has its `hydra` node, with $CONFIG and $APP_CONFIG_GROUPS filled in.

    Args:
        resolve: its interpolations become values.
    """
    template = string.Template(cfg.hydra.help.template)
    sources = [source.path for source in cfg.hydra.runtime.config_sources if source.schema == _FILES]
    with open_dict(cfg):
        del cfg[_OF_HYDRA]
    groups = "".join(f"{group}: {', '.join(options)}\n" for group, options in config_groups(sources).items())
    return template.substitute(CONFIG=OmegaConf.to_yaml(cfg, resolve=resolve), APP_CONFIG_GROUPS=groups)


def config_groups(folders: Iterable[str | Path]) -> dict[str, list[str]]:
    """The groups in folders of configurations and their options, both by name; those of Hydra itself are left out."""
    options: dict[str, set[str]] = {}
    for folder in map(Path, folders):
        for file in folder.rglob("*.yaml"):
            group = file.parent.relative_to(folder).as_posix()
            if group != "." and group.partition("/")[0] != _OF_HYDRA:
                options.setdefault(group, set()).add(file.stem)
    return {group: sorted(options[group]) for group in sorted(options)}
