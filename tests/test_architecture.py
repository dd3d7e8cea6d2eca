"""The import rules of the house, read from the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stmask

ROOT = Path(stmask.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A part may import parts of lower layers and itself. What stands in one layer does not know its neighbours.
LAYERS = [
    {"errors"},
    {"class_names", "files", "formats", "lettering", "number_checks", "signatures"},
    {"archives", "ops"},
    {"weights", "structures"},
    {"config_check", "config_globs", "config_paths", "config_ranges", "config_schemas", "tracking"},
    {"config_folders", "config_overrides", "models"},
    {"checkpoints", "config", "folders"},
    {"data", "evaluation", "viz"},
    {"official", "inference"},
    {"loading"},
    {"engine"},
    {"plots", "console"},
    {"experiments"},
    {"commands"},
    {"cli"},
    {"__main__", ""},
]
LAYER = {part: number for number, parts in enumerate(LAYERS) for part in parts}

MAY_IMPORT_OFFICIAL = {"official", "commands", "cli", "loading"}
FRAMEWORK_FREE = {"structures", "ops", "models", "tracking", "checkpoints", "official", "inference", "loading"}
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
        ("import stmask.models, stmask.models.stmask.losses, stmask.tracking", FRAMEWORKS | SLOW_OR_TALKATIVE),
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
