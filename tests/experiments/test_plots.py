"""What the pictures of a comparison show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from experiments.made_runs import CPU, TINY, write_run, write_sweep

from stmask.errors import DataError
from stmask.experiments import plots
from stmask.experiments.collect import collect
from stmask.experiments.comparison import Section, compare, most_measured
from stmask.experiments.rows import rows


def measured(folder: Path, table: str = "table4") -> Section:
    return most_measured([compare(table, rows(table), collect([folder])[0])])[1]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Section:
    aps = {"table4/t4_baseline": [0.1, 0.2, 0.18], "table4/t4_fca": [0.25]}
    return measured(write_sweep(tmp_path_factory.mktemp("sweep"), aps))


def test_the_richest_table_is_chosen(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"table4/t4_fca_ada": [0.1, 0.1, 0.1]})
    write_sweep(tmp_path / "b", {"table1/t1_3x5": [0.2], "table1/t1_3x2": [0.2]}, overrides=[*TINY, "seed=0"])
    records, _ = collect([tmp_path])
    comparison, section = most_measured(compare(t, rows(t), records) for t in ("table1", "table2", "table3", "table4"))
    assert (comparison.table, section.measured_rows, section.measured_runs) == ("table2", 2, 4)
    with pytest.raises(DataError, match="stmask sweep"):
        most_measured([compare("table3", rows("table3"), records)])


def diamonds(axis: Any) -> list[float]:
    return [float(line.get_xdata()[0]) for line in axis.get_lines() if line.get_marker() == "D"]


def test_every_row_has_the_papers_number_its_seeds_and_their_mean(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"table4/t4_baseline": [0.27, 0.28, 0.32], "table4/t4_fca": [0.3]}, overrides=[])
    figure = plots.paper_and_measured(measured(tmp_path))
    (axis,) = figure.axes
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert labels[:3] == ["t4_baseline (3)", "t4_fca (1)", "t4_fca_ada (missing)"]
    assert diamonds(axis) == [28.9, 30.8, 34.4, 33.1, 36.8, 36.3]
    assert list(axis.get_lines()[1].get_xdata()) == pytest.approx([27.0, 28.0, 32.0])
    assert len(figure.legends[0].get_texts()) == 3


def test_numbers_of_another_recipe_have_a_scale_of_their_own(sweep: Section) -> None:
    ours, printed = plots.paper_and_measured(sweep).axes
    assert "another dataset or recipe" in ours.get_title(loc="left")
    assert (len(diamonds(ours)), len(diamonds(printed))) == (0, 6)


def test_curves_are_means_in_the_band_of_the_seeds(sweep: Section) -> None:
    axis = plots.curves(sweep).axes[0]
    baseline, fca = axis.get_lines()
    assert list(baseline.get_xdata()) == [100, 200, 300]
    assert list(baseline.get_ydata()) == pytest.approx([16 / 3, 32 / 3, 16])
    assert fca.get_label() == "t4_fca (1)"
    low, high = axis.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((10 / 3, 20))


def test_a_broken_log_is_named(tmp_path: Path) -> None:
    section = measured((write_run(tmp_path / "a") / "metrics.csv").parent)
    (tmp_path / "a" / "metrics.csv").write_text("step,loss\n1,2\n")
    assert plots.curves(section).axes[0].get_lines() == []
    for text in ("a,b\n1,2\n", "step,valid/AP\n1,high\n"):
        (tmp_path / "a" / "metrics.csv").write_text(text)
        with pytest.raises(DataError, match=r"a/metrics.csv is not as a run writes it"):
            plots.curves(section)
    (tmp_path / "a" / "metrics.csv").unlink()
    with pytest.raises(DataError, match=r"cannot read .*a/metrics.csv"):
        plots.curves(section)


def test_accuracy_stands_against_speed_where_it_was_measured(sweep: Section, tmp_path: Path) -> None:
    figure = plots.accuracy_and_speed(sweep)
    assert figure is not None
    axis = figure.axes[0]
    assert len(axis.containers) == 2
    assert str(CPU) in axis.get_xlabel()
    write_run(tmp_path / "a")
    assert plots.accuracy_and_speed(measured(tmp_path)) is None
