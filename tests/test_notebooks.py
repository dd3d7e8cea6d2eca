"""Every notebook runs from top to bottom, and is committed without outputs."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import nbformat
import pytest
from engine.tiny import TINY
from experiments.made_runs import write_sweep
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from stmask.config import compose
from stmask.data.synthetic import SyntheticConfig, write_dataset
from stmask.engine.train import train

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_SECONDS = 60
MAX_LINES = 12
EMPTY_KERNEL = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%reset -f")])
MACHINE_PATH = re.compile(rf"/home/|/root/|/tmp/|/Users/|\b[A-Z]:\\|{re.escape(str(FOLDER.parent))}")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[str]:
    """The code cells as Python: lines of IPython's own are left out."""
    sources = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    return ["\n".join(line for line in source.splitlines() if not line.startswith("%")) for source in sources]


@pytest.fixture(scope="session")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A dataset, a short run on it, and in the same folder of runs made ones that are rows of a table."""
    base = tmp_path_factory.mktemp("notebooks")
    config = SyntheticConfig.preset("easy", height=64, width=96, frames=4, objects=(2, 3))
    data = write_dataset(base / "synthetic", config, videos=4, valid_videos=2)
    run = base / "runs" / "train" / "short"
    train(compose("train", [*TINY, f"data.root={data}", f"output_dir={run}"]))
    write_sweep(base / "runs", {"table4/t4_fca": [0.2, 0.25], "table4/t4_fca_ada": [0.3, 0.28]})
    return {"STMASK_DATA_ROOT": str(data), "STMASK_RUN": str(run), "STMASK_RUNS": str(base / "runs")}


@pytest.mark.slow
def test_each_runs_from_top_to_bottom(surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One kernel for all of them, emptied in between: its imports take longer than what the notebooks do."""
    for name, value in {**surroundings, "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    kernel = KernelManager()
    kernel.start_kernel(cwd=str(FOLDER))
    try:
        for path in NOTEBOOKS:
            notebook = read(path)
            NotebookClient(notebook, km=kernel, timeout=MAX_SECONDS).execute(cleanup_kc=False)
            if keep := os.environ.get("STMASK_KEEP_NOTEBOOKS"):
                nbformat.write(notebook, Path(keep) / path.name)
            NotebookClient(EMPTY_KERNEL, km=kernel, timeout=MAX_SECONDS).execute(cleanup_kc=False)
    finally:
        kernel.shutdown_kernel(now=True)


@every_notebook
def test_is_committed_clean(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not MACHINE_PATH.search(cell.source), cell.source
        assert not cell.metadata, "run tools/strip_notebooks.py"
        if cell.cell_type == "code":
            assert not cell.outputs, "run tools/strip_notebooks.py"
            assert cell.execution_count is None, "run tools/strip_notebooks.py"


@every_notebook
def test_only_calls_and_explains(path: Path) -> None:
    """What a notebook computes lives in the package."""
    sources = code(path)
    assert read(path).cells[0].cell_type == "markdown"
    for source in sources:
        assert len(source.splitlines()) <= MAX_LINES, source
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.While, ast.Try)
        assert not any(isinstance(node, kinds) for node in ast.walk(ast.parse(source))), source
