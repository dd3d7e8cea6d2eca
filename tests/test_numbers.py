"""Numbers in README, docs and experiments/ are those of the files that the experiments wrote."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import stmask

ROOT = Path(stmask.__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
SYNTHETIC = EXPERIMENTS / "synthetic"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *EXPERIMENTS.rglob("README.md")]
NUMBER = r"(\d+\.\d+)"
_POINTS = re.compile(r"(?<![\w.])[+-]?\d+\.\d(?![\w.])")  # percent and points, as the tables have them

pytestmark = pytest.mark.skipif(not (ROOT / "mkdocs.yml").is_file(), reason="needs a checkout")


def stored(folder: str) -> list[dict[str, str]]:
    return list(csv.DictReader((EXPERIMENTS / folder / "results.csv").read_text().splitlines()))


def demo(*columns: str) -> list[float]:
    return [float(line[column]) for column in columns for line in stored("demo")]


def miniature(*rows: str) -> list[float]:
    measured = {
        line["row"]: float(line["AP"]) for line in stored("table6") if "recipe=small" in line["setting"] and line["AP"]
    }
    return [measured[row] for row in rows]


# a sentence that is written anew has its pattern here
SENTENCES: list[tuple[str, str, Callable[[], list[float]]]] = [
    ("README.md", rf"video AP of {NUMBER}, {NUMBER} and {NUMBER} \(AP50 {NUMBER}, {NUMBER}, {NUMBER}\)",
     lambda: demo("AP", "AP50")),
    ("experiments/table6/README.md", rf"R-CNN {NUMBER}, STMask {NUMBER}, SipMask {NUMBER}, CondInst {NUMBER}\)",
     lambda: miniature("t6_masktrack_r50", "t6_stmask_r50_ada", "t6_sipmask_r50", "t6_condinst_r50")),
]  # fmt: skip


@pytest.mark.parametrize(("page", "pattern", "numbers"), SENTENCES, ids=lambda value: str(value)[:20])
def test_a_sentence_has_the_numbers_of_the_file(page: str, pattern: str, numbers: Callable[[], list[float]]) -> None:
    text = " ".join((ROOT / page).read_text().split())
    found = re.search(pattern, text)
    assert found, f"{page} does not have this sentence any more: {pattern}"
    assert list(found.groups()) == [
        f"{number:.{len(said.partition('.')[2])}f}" for number, said in zip(numbers(), found.groups(), strict=True)
    ]


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in EXPERIMENTS.glob("*/table.md")))
def test_a_table_has_the_numbers_of_its_file(folder: str) -> None:
    text = (EXPERIMENTS / folder / "table.md").read_text()
    for line in stored(folder):
        rows = [row for row in text.splitlines() if row.startswith(f"| `{line['row']}`")]
        assert rows, line["row"]
        only_difference = line.get("factor") and line["before"]  # so a factor's table has them
        for column in ("difference",) if only_difference else ("AP", "difference"):
            if line.get(column):
                sign = "+" if column == "difference" else ""
                number = f"{float(line[column]):{sign}.1f}"
                assert any(number in row for row in rows), (line["row"], column, number)


def paragraphs_on_synthetic_videos() -> list[tuple[Path, str]]:
    """Whatever is said of experiments/synthetic: its README, and paragraphs elsewhere that name the folder."""
    return [
        (page, paragraph)
        for page in PAGES
        for paragraph in re.split(r"\n\s*\n", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M))
        if page.parent == SYNTHETIC or "experiments/synthetic" in paragraph
    ]


def strangers(paragraph: str, table: str) -> list[str]:
    """The numbers of a paragraph that a table does not have, with or without their sign."""
    there = set(_POINTS.findall(table))
    bare = {number.lstrip("+-") for number in there}
    return [number for number in _POINTS.findall(paragraph) if number not in (there if number[0] in "+-" else bare)]


def test_what_is_said_of_synthetic_videos_is_in_their_table() -> None:
    paths = SYNTHETIC / "table.md", SYNTHETIC / "pilots.csv"
    table = "\n".join(path.read_text() for path in paths if path.exists())
    wrong = {
        (page.name, *numbers) for page, text in paragraphs_on_synthetic_videos() if (numbers := strangers(text, table))
    }
    assert not wrong


def test_numbers_that_a_table_does_not_have_are_seen() -> None:
    table = "| `t5_fca` | 41.3 ± 1.2 | 5 | `t5_baseline` | +1.4 [-0.3, +2.9] |"
    assert strangers("FCA gave +1.4 [-0.3, +2.9] points over 41.3, in a step of 0.25 s (v1.2.3)", table) == []
    assert strangers("FCA gave +1.5, or -1.4, to 41.4; from 1.2 to 2.9", table) == ["+1.5", "-1.4", "41.4"]
