"""Where the run of a configuration lives in a sweep: a folder that follows from the configuration and the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from stmask.engine.identity import config_hash

SWEEPS = "sweeps"
_ALIGN = {"AdaptiveCalibration": "ada", "AlignedCalibration": "ali"}
_WHOLE_BRANCHES = {"ada": ["class", "mask", "track"], "ali": ["mask", "track"]}  # what the plain option stands for
_FCA_KERNELS = [[3, 3], [3, 5], [5, 3]]
_TEMPORAL_LEVEL = "P4"


def run_folder_of(cfg: DictConfig) -> Path:
    """`<output_root>/sweeps/<label>-<hash>/seed_<n>`, absolute."""
    return Path(cfg.output_root).absolute() / SWEEPS / f"{label_of(cfg)}-{config_hash(cfg)}" / f"seed_{cfg.seed}"


def label_of(cfg: DictConfig) -> str:
    """What a reader of folder names wants to know of a network, such as "r101dcn-fca-ada_class_mask-tf"."""
    model = cfg.model
    parts = [_backbone(_of(model, "backbone")), _head(_of(model, "head")), _align(_of(model, "head.align"))]
    label = "-".join(part for part in [*parts, _temporal(_of(model, "temporal"))] if part)
    return label or str(_of(model, "_target_") or "network").rpartition(".")[2].lower()


def _of(node: DictConfig, key: str) -> Any:
    value = OmegaConf.select(node, key)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _backbone(backbone: dict[str, Any] | None) -> str:
    if not backbone or "depth" not in backbone:
        return ""
    return f"r{backbone['depth']}{'dcn' if backbone.get('dcn_interval') else ''}"


def _head(head: dict[str, Any] | None) -> str:
    if not head or "kernels" not in head:
        return ""
    if head.get("anchor_sizes") is not None:
        return "plain"
    kernels, scales = head["kernels"], head.get("scales") or [1.0]
    shape = "" if kernels == _FCA_KERNELS else f"_{kernels[-1][1]}x{kernels[-1][0]}"
    anchors = len(kernels) * len(scales)
    return f"fca{'' if anchors == len(_FCA_KERNELS) else anchors}{shape}"


def _align(align: dict[str, Any] | None) -> str:
    kind = _ALIGN.get(str((align or {}).get("_target_")).rpartition(".")[2])
    if align is None or kind is None:
        return ""
    branches = sorted(align.get("branches", []))
    return kind if branches == _WHOLE_BRANCHES[kind] else "_".join([kind, *branches])


def _temporal(temporal: dict[str, Any] | None) -> str:
    if not temporal:
        return ""
    level = str(temporal.get("level", _TEMPORAL_LEVEL))
    return "tf" if level == _TEMPORAL_LEVEL else f"tf_{level.lower()}"
