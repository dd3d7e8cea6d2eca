"""What is installed with which extra, what is imported for what, and what is said where an extra is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest

import stmask
from stmask.cli import COMMANDS, main
from stmask.commands.family import members
from stmask.errors import ConfigError
from stmask.extras import EXTRA_OF, missing, require

ROOT = Path(stmask.__file__).parents[1]
FORMAT1 = Path(__file__).parent / "checkpoints" / "data" / "format1.ckpt"
NAME = re.compile(r"[A-Za-z0-9_.-]+")
TRAINING = {"pytorch_lightning", "torchmetrics", "albumentations", "wandb", "matplotlib", "scipy", "pandas"}
NETWORKS = {"torch", "torchvision", "av", "rich"}

# Before the command: whatever is not installed with stmask alone can't be imported, as on a machine that lacks it.
WITHOUT = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))
from stmask.cli import main
sys.exit(main(sys.argv[2:]))
"""


def listed(name: str) -> list[str]:
    """The requirements of the package ("dependencies"), or of one of its extras."""
    project = (ROOT / "pyproject.toml").read_text()
    found = re.search(rf"^{name} = \[(.*?)\]$", project, re.M | re.S)
    assert found is not None, name
    return re.findall(r'"([^"]+)"', found[1])


def names(requirements: Iterable[str]) -> set[str]:
    return {found[0].lower().replace("_", "-") for text in requirements if (found := NAME.match(text))}


def brought_along(roots: Iterable[str]) -> set[str]:
    """Distributions that an installer gets for some, itself included, as far as they are installed here."""
    found: set[str] = set()
    waiting = set(roots)
    while waiting:
        found.add(name := waiting.pop())
        try:
            needed = [text for text in metadata.requires(name) or () if "extra ==" not in text]
        except metadata.PackageNotFoundError:
            continue
        waiting |= names(needed) - found
    return found


@pytest.fixture(scope="module")
def absent() -> list[str]:
    """The names under which everything is imported that `pip install stmask` does not bring along."""
    core = brought_along(names(listed("dependencies")))
    homes = metadata.packages_distributions()
    others = {name for name, found in homes.items() if not names(found) & core}
    assert others >= set(EXTRA_OF) & set(homes)
    return sorted(others - {"stmask", "hydra_plugins"})


def run_without(absent: list[str], *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, json.dumps(absent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


needs_checkout = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout")


@needs_checkout
@pytest.mark.parametrize(("package", "extra"), EXTRA_OF.items())
def test_an_extra_installs_what_it_is_named_for(package: str, extra: str) -> None:
    assert package.replace("_", "-") in names(listed(extra))
    assert package.replace("_", "-") not in names(listed("dependencies"))


@needs_checkout
def test_all_installs_what_every_command_needs() -> None:
    inside = {extra for text in listed("all") for extra in re.findall(r"\w+", text.partition("[")[2])}
    within = {extra for one in inside for text in listed(one) for extra in re.findall(r"stmask\[(\w+)\]", text)}
    assert set(EXTRA_OF.values()) | {"slurm", "search", "notebooks"} <= inside | within


@needs_checkout
def test_predict_and_the_metric_need_no_extra(absent: list[str], tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(2):
        picture = np.full((64, 96, 3), 60 * number, np.uint8)
        (frames / f"{number}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    words = ["predict", "frames", f"checkpoint={FORMAT1}", "output=out.mp4", "device=cpu"]
    predicted = run_without(absent, *words, cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert (tmp_path / "out.mp4").stat().st_size > 0

    rle = {"size": [4, 6], "counts": [5, 4, 15]}
    video = {"id": 1, "height": 4, "width": 6, "length": 1, "file_names": ["1.jpg"]}
    track = {"id": 1, "video_id": 1, "category_id": 1, "segmentations": [rle], "iscrowd": 0}
    truth = {"videos": [video], "categories": [{"id": 1, "name": "a"}], "annotations": [track]}
    result = {"video_id": 1, "category_id": 1, "score": 0.5, "segmentations": [{**rle, "counts": "54?"}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps([result]))
    scored = run_without(absent, "metric", "truth.json", "results.json", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert "100.0" in scored.stdout


@needs_checkout
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["train", "experiment=demo"], "pytorch_lightning.Trainer needs pytorch_lightning.*'stmask[train]'"),
        (["demo"], "needs pytorch_lightning, which is not installed: pip install 'stmask[train]'"),
        (["metric", "t.json", "r.json", "--plots=p"], "--plots needs matplotlib.*pip install 'stmask[plots]'"),
        (["data", "show", "."], "stmask data show needs matplotlib.*pip install 'stmask[plots]'"),
    ],
)
def test_a_missing_extra_is_one_line(words: list[str], line: str, absent: list[str], tmp_path: Path) -> None:
    ran = run_without(absent, *words, cwd=tmp_path)
    assert ran.returncode == 2, ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert re.search(re.escape(line).replace(r"\.\*", ".*"), ran.stderr)
    assert list(tmp_path.iterdir()) == []


def test_other_import_errors_are_not_explained_away() -> None:
    assert missing(ModuleNotFoundError("no", name="wandb")) is not None
    assert missing(ModuleNotFoundError("no", name="wandb.sdk")) is None  # it is there, and broken
    assert missing(ModuleNotFoundError("no", name="other")) is None
    assert missing(ImportError("no", name="wandb")) is None
    assert missing(None) is None


def test_a_package_is_asked_for_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"^logger=wandb needs wandb, .*: pip install 'stmask\[wandb\]'$"):
        require("wandb", what="logger=wandb")
    monkeypatch.setitem(sys.modules, "wandb", sys)
    require("wandb", what="logger=wandb")


def loaded(code: str) -> list[str]:
    """The modules that a new process has after some code."""
    code = f"import sys\n{code}\nsys.stderr.write('modules: ' + ' '.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stderr.rpartition("modules: ")[2].split()


def after(*lines: list[str]) -> str:
    return (
        "from stmask.cli import main\n"
        f"for words in {list(lines)!r}:\n"
        "    try:\n"
        "        main(words)\n"
        "    except SystemExit as stop:\n"
        "        assert not stop.code"
    )


def test_help_of_every_command_imports_neither_networks_nor_training() -> None:
    families = {name: members(name) for name in COMMANDS if members(name)}
    lines = [["--version"], *([name, "--help"] for name in COMMANDS)]
    lines += [[name, member, "--help"] for name, found in families.items() for member in found]
    assert len(lines) > 20
    assert set(loaded(after(*lines))) & (TRAINING | NETWORKS) == set()


@pytest.mark.parametrize(
    ("words", "most"),
    [(["--version"], 200), (["metric", "--help"], 250), (["predict", "--help"], 500), (["train", "--help"], 500)],
)
def test_help_imports_few_modules(words: list[str], most: int) -> None:
    assert len(loaded(after(words))) <= most


def test_a_segmenter_is_loaded_without_the_training_stack() -> None:
    code = f"import stmask\nstmask.load_segmenter({str(FORMAT1)!r})"
    assert set(loaded(code)) & (TRAINING | {"hydra", "omegaconf"}) == set()


@pytest.mark.parametrize("words", [["train", "--help", "experiment=demo"], ["evaluate", "-h"], ["predict", "--help"]])
def test_help_shows_every_key(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"stmask {words[0]} " in shown
    assert "$" not in re.sub(r"\$\{[^}]*\}", "", shown)  # all of the template is filled in; interpolations stay
    assert "hydra:" not in shown


def test_help_lists_groups_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model" / "tracker"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("max_age: 3\n")
    assert main(["train", f"--config-dir={tmp_path}", "--help", "model/tracker=mine", "--resolve"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^model/tracker: cosine, iou, .*\bmine\b.*\bstmask$", shown, re.M)
    assert "max_age: 3" in shown
    assert "${" not in shown
    assert main(["train", "--help", "sed=3"]) == 2
    assert capsys.readouterr().err == "stmask: error: unknown key 'sed'; did you mean 'seed'?\n"
