"""What pyproject.toml allows is what was tried: the oldest by `make test-oldest`, the newest by `make test`."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import stmask

ROOT = Path(stmask.__file__).parents[1]
REQUIREMENT = re.compile(r'"(?P<name>[A-Za-z0-9_.-]+)>=(?P<low>[\d.]+)(,<(?P<high>[\d.]+))?"')
PINNED_BY_MINOR = ("pytorch-lightning", "hydra-core", "omegaconf")  # whose inside this package knows

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout")


def requirements() -> dict[str, re.Match[str]]:
    """Of the package and of the extras that its commands use, by name."""
    project = (ROOT / "pyproject.toml").read_text()
    parts = ("dependencies", "train", "plots", "wandb", "slurm", "search")
    texts = [re.search(rf"^{name} = \[(.*?)\]$", project, re.M | re.S) for name in parts]
    return {found["name"]: found for text in texts if text for found in REQUIREMENT.finditer(text[1])}


def pins(file: str) -> dict[str, str]:
    """Versions by name; where two pythons have different ones, the newer python's."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if "==" in line and "python_version <" not in line]
    return {name: pin.partition(";")[0] for name, _, pin in (line.partition("==") for line in lines)}


@pytest.mark.parametrize("name", requirements())
def test_the_lower_bound_is_the_version_that_is_tried(name: str) -> None:
    low, tried = requirements()[name]["low"], pins("constraints-oldest.txt")[name]
    assert re.fullmatch(rf"{re.escape(low)}(\.\d+)*", tried), f"{name}>={low} in pyproject.toml, {tried} is tried"


@pytest.mark.parametrize("name", PINNED_BY_MINOR)
def test_the_upper_bound_is_the_minor_version_after_the_newest_that_is_tried(name: str) -> None:
    major, minor = map(int, pins("constraints.txt")[name].split(".")[:2])
    assert requirements()[name]["high"] == f"{major}.{minor + 1}"


def test_every_pin_of_the_oldest_is_exact() -> None:
    lines = [line for line in (ROOT / "constraints-oldest.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[^ ;]+", line)] == []


def test_what_is_tried_by_make_exists() -> None:
    listed = re.search(r"^OLDEST_TESTS := (.*?[^\\])$", (ROOT / "Makefile").read_text(), re.M | re.S)
    assert listed is not None
    files = listed[1].replace("\\\n", " ").split()
    assert len(files) > 5
    assert [name for name in files if not (ROOT / name).is_file()] == []


@pytest.mark.skipif(Path(sys.prefix).name != ".venv-oldest", reason="is for `make test-oldest`")
def test_the_oldest_are_installed() -> None:
    oldest = pins("constraints-oldest.txt")
    found = {name: version(name).partition("+")[0] for name in requirements()}
    assert found == {name: oldest[name] for name in found}
