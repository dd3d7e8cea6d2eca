"""The import rules of the house, read from the source."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import stmask

ROOT = Path(stmask.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A part may import parts of lower layers and itself. What stands in one layer does not know its neighbours.
LAYERS = [
    {"errors", "progress", "threads"},
    {"extras"},
    {"class_names", "files", "formats", "hydra_private", "lettering", "number_checks", "overlap", "signatures"},
    {"archives", "captions", "ops", "wandb_errors"},
    {"config_check", "structures", "weights"},
    {"config_globs", "config_help", "config_paths", "config_schemas", "config_sources", "hub", "tracking"},
    {"config_folders", "config_overrides", "models"},
    {"checkpoints", "config", "folders"},
    {"runs"},
    {"checkpoint_path", "evaluation", "viz"},
    {"tasks"},
    {"data"},
    {"inference", "official", "runtimes"},
    {"exports", "loading"},
    {"engine"},
    {"benchmarks"},
    {"plots", "console", "report"},
    {"experiments"},
    {"commands"},
    {"cli"},
    {"__main__", ""},
]
LAYER = {part: number for number, parts in enumerate(LAYERS) for part in parts}

MAY_IMPORT_OFFICIAL = {"official", "exports", "commands", "cli", "loading"}
FRAMEWORK_FREE = {
    "structures",
    "ops",
    "models",
    "tracking",
    "checkpoints",
    "official",
    "tasks",
    "inference",
    "loading",
    "runtimes",
}
FRAMEWORKS = {"pytorch_lightning", "lightning", "hydra", "omegaconf"}
SLOW_OR_TALKATIVE = {"wandb", "matplotlib", "albumentations"}


def part_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Dotted names of what a module imports; names for type checkers only don't count."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                yield from (f"{child.module}.{alias.name}" for alias in child.names)
            elif not (top_level_only and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))):
                yield from walk(child)

    yield from walk(ast.parse(path.read_text()))


def inner_parts(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("stmask.")}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_part_has_its_layer() -> None:
    assert {part_of(path) for path in MODULES} <= set(LAYER)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    part = part_of(path)
    up = {other for other in inner_parts(path) - {part} if LAYER[other] >= LAYER[part]}
    assert not up, f"{part} must not import {sorted(up)}"


def test_official_is_quarantined() -> None:
    guests = {part_of(path) for path in MODULES if "official" in inner_parts(path)}
    assert guests <= MAY_IMPORT_OFFICIAL


def test_the_method_knows_no_framework() -> None:
    found = {
        name_of(path): top
        for path in MODULES
        if part_of(path) in FRAMEWORK_FREE
        for top in {name.split(".")[0] for name in imports(path)} & FRAMEWORKS
    }
    assert not found


def test_albumentations_has_one_home() -> None:
    homes = {name_of(path) for path in MODULES if any(name.startswith("albumentations") for name in imports(path))}
    assert homes <= {"data/augment.py"}


def test_slow_packages_are_imported_where_they_are_used() -> None:
    found = {
        name_of(path): top
        for path in MODULES
        for top in {name.split(".")[0] for name in imports(path, top_level_only=True)} & SLOW_OR_TALKATIVE
    }
    assert not found


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import stmask", {"torch", "numpy", "cv2"} | FRAMEWORKS | SLOW_OR_TALKATIVE),
        ("import stmask.evaluation", {"torch", "cv2", "matplotlib"} | FRAMEWORKS | SLOW_OR_TALKATIVE),
        ("import stmask.models.stmask, stmask.models.yolact, stmask.tracking", FRAMEWORKS | SLOW_OR_TALKATIVE),
        ("import stmask; stmask.VideoSegmenter, stmask.load", {"torchmetrics"} | FRAMEWORKS | SLOW_OR_TALKATIVE),
    ],
)
def test_importing_loads_no_more_than_needed(statement: str, absent: set[str]) -> None:
    check = (
        f"import sys; {statement}; torch = sys.modules.get('torch')\n"
        "assert torch is None or not torch.cuda.is_initialized()\n"
        f"print(*({absent!r} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_a_file_is_scored_without_torch(tmp_path: Path) -> None:
    """Whatever is asked of the metric, in the process that scores."""
    rle = {"size": [4, 6], "counts": [5, 4, 15]}
    video = {"id": 1, "height": 4, "width": 6, "length": 1, "file_names": ["1.jpg"]}
    track = {"id": 1, "video_id": 1, "category_id": 1, "segmentations": [rle], "iscrowd": 0}
    truth = {"videos": [video], "categories": [{"id": 1, "name": "a"}], "annotations": [track]}
    results = [{"video_id": 1, "category_id": 1, "score": 0.5, "segmentations": [{**rle, "counts": "54?"}]}]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    flags = [
        "--per-class",
        "--explain",
        "--frames",
        "--boundary",
        "--identities",
        "--tracking",
        "--json=a",
        "--csv=b",
        "--errors=c",
    ]
    words = ["metric", "truth.json", "results.json", *flags, "--plots=plots"]
    absent = {"torch", "torchmetrics", "pytorch_lightning", "hydra", "omegaconf", "wandb", "albumentations"}
    check = (
        f"import sys; from stmask.cli import main; assert main({words!r}) == 0; print('absent:', *({absent!r} & "
        "set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "absent:"
    assert {path.name for path in tmp_path.iterdir()} == {"truth.json", "results.json", "a", "b", "c", "plots"}


def test_public_names_resolve() -> None:
    assert set(stmask.__all__) <= set(dir(stmask))
    for name in stmask.__all__:
        assert getattr(stmask, name).__module__.startswith("stmask.")
    with pytest.raises(AttributeError, match="no attribute 'VideoSegmentor'"):
        stmask.VideoSegmentor  # noqa: B018


def test_the_house_knows_no_model() -> None:
    """What is a model's own is known in its folder, and to the pictures of its parts, alone."""
    rooms = ("engine", "inference", "checkpoints", "experiments", "commands", "evaluation", "data")
    own = re.compile(r"isinstance\(.*STMask|model\.temporal|DensePredictions|FrameMemory|models\.(stmask|yolact)\b")
    texts = ((path, path.read_text()) for path in MODULES if part_of(path) in rooms and path.name != "format1.py")
    assert not [(name_of(path), found[0]) for path, text in texts if (found := own.search(text))]


# --- what is private to Lightning, Hydra and PyTorch has one home each

PRIVATE_HOMES = {"hydra_private.py", "engine/lightning_private.py", "ops/kernels.py"}
PRIVATE_PACKAGES = {"hydra", "omegaconf", "pytorch_lightning", "lightning_fabric", "lightning_utilities"}
# of the modules of hydra.core those that Hydra's documentation and its example plugins name
DOCUMENTED = {"hydra.core.hydra_config", "hydra.core.utils", "hydra.core.config_store"}
# names of others that begin with an underscore, and of ours
OTHERS = {
    "_actions",  # argparse
    "_deform_conv2d_backward", "_roi_align_backward",  # operators of torchvision, to count
    "_embedding_bag_forward_only", "_embedding_bag_per_sample_weights_backward",  # of torch, likewise
    "_exit",  # os
    "_make_layer",  # torchvision's ResNet
    "_on_queue_feeder_error",  # multiprocessing.Queue
    "_shutdown_workers",  # torch's DataLoader
    "_sync_dist", "_to_sync",  # torchmetrics' Metric
    "_target_",  # a key of configurations
}  # fmt: skip


def underscored(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_imports(path: Path) -> set[str]:
    names = {name for name in imports(path) if name.split(".")[0] in PRIVATE_PACKAGES}
    inside = {name for name in names if any(map(underscored, name.split(".")))}
    undocumented = {
        name
        for name in names
        if name.startswith("hydra.core.") and not any(name.startswith(f"{module}.") for module in DOCUMENTED)
    }
    return inside | undocumented


def names_made(path: Path) -> Iterator[str]:
    """What a module names itself: functions, classes, variables and attributes that it assigns."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


@cache
def all_names_made() -> set[str]:
    return {name for path in MODULES if name_of(path) not in PRIVATE_HOMES for name in names_made(path)}


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path) not in PRIVATE_HOMES], ids=name_of)
def test_private_names_of_frameworks_stay_in_their_files(path: Path) -> None:
    assert not private_imports(path)
    known = all_names_made() | OTHERS
    touched = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    foreign = {name for name in touched if underscored(name) and name not in known}
    assert not foreign, f"{sorted(foreign)}: what is private to a package belongs in one of {sorted(PRIVATE_HOMES)}"


def test_the_rule_for_private_names_finds_them(tmp_path: Path) -> None:
    """Tried on the files that have them."""
    for name in PRIVATE_HOMES - {"ops/kernels.py"}:
        assert private_imports(ROOT / name)
    loops = ROOT / "engine" / "lightning_private.py"
    touched = {node.attr for node in ast.walk(ast.parse(loops.read_text())) if isinstance(node, ast.Attribute)}
    assert {"_can_stop_early", "_signal_connector", "_should_accumulate"} <= touched - all_names_made()


def test_no_private_method_of_a_framework_is_overridden_elsewhere() -> None:
    overridden = {}
    for path in MODULES:
        if name_of(path) in PRIVATE_HOMES or part_of(path) in ("__main__", ""):
            continue
        module = importlib.import_module(".".join(("stmask", *path.relative_to(ROOT).with_suffix("").parts)))
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                bases = [base for base in kind.__mro__ if base.__module__.split(".")[0] in PRIVATE_PACKAGES]
                theirs = {name for base in bases for name in vars(base) if underscored(name)} - {"_abc_impl"}
                if names := theirs & set(vars(kind)):
                    overridden[kind.__qualname__] = names
    assert not overridden
