"""What a benchmark writes, and what is compared with what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stmask.benchmarks.record import FORMAT, Conditions, Floor, Report, Result
from stmask.benchmarks.report import ratios, table
from stmask.errors import DataError
from stmask.files import read_json, write_json

CPU = Conditions(device="a processor", precision="float32", threads=2, torch="2.11.0", capability="AVX2")


def made(name: str, *samples: float, code: str = "abc", conditions: Conditions = CPU, product: float = 4.0) -> Result:
    return Result(
        name=name, code=code, conditions=conditions, samples=samples, stages={"network": 3.0},
        floor=Floor(flops=2e9, bytes=1e6, product_ms=product, convolution_ms=5.0, copy_ms=1.0),
        memory={"start": 10.0, "peak": 20.0}, details={"objects": 3.0},
    )  # fmt: skip


def report(*results: Result, kind: str = "inference") -> Report:
    return Report(kind=kind, unit="frame", stages={"network": "the forward pass"}, results=results)


@pytest.mark.parametrize(
    ("samples", "percent", "wanted"),
    [((5.0,), 10, 5.0), ((1.0, 2.0, 3.0), 50, 2.0), ((4.0, 1.0, 3.0, 2.0, 5.0), 90, 4.6), ((1.0, 2.0), 10, 1.1)],
)
def test_percentiles(samples: tuple[float, ...], percent: float, wanted: float) -> None:
    assert made("a", *samples).percentile(percent) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("floor", "wanted"),
    [
        (Floor(product_ms=4.0, convolution_ms=5.0, copy_ms=1.0), 4.0),
        (Floor(product_ms=4.0, convolution_ms=3.0, copy_ms=3.5), 3.5),
        (Floor(copy_ms=1.0), 1.0),
        (Floor(), None),
    ],
)
def test_the_floor_is_the_faster_arithmetic_or_the_slower_copy(floor: Floor, wanted: float | None) -> None:
    assert floor.milliseconds == wanted


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.json", report(made("a", 1.0, 2.0, 3.0), made("b", 4.0))
    whole.write(path)
    again = Report.read(path, kind="inference")
    assert again == replace(whole, results=tuple(whole.results))
    stored = read_json(path)
    assert stored["format"] == FORMAT
    assert stored["results"][0]["milliseconds"] == {"median": 2.0, "p10": 1.2, "p90": 2.8}
    assert stored["results"][0]["floor"]["milliseconds"] == 4.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "train"}, "is of stmask benchmark train, it cannot be compared with inference"),
        ({"format": 99}, "has format 99, this version reads"),
        ({"results": [{"name": "a"}]}, "is damaged"),
        ({"results": None}, "is damaged"),
    ],
)
def test_other_files_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    report(made("a", 1.0)).write(path)
    write_json(path, {**read_json(path), **change})
    with pytest.raises(DataError, match=message):
        Report.read(path, kind="inference")
    write_json(path, [])
    with pytest.raises(DataError, match="was not written by stmask benchmark inference --json"):
        Report.read(path, kind="inference")


def test_ratios_name_conditions_that_differ() -> None:
    other = report(made("a", 4.0, product=2.0), made("b", 1.0))
    now = report(made("a", 2.0, code="def"), made("c", 1.0))
    said = ratios(now, other).splitlines()
    assert said[1].split() == ["a", "abc", "def", "4.000", "2.000", "0.50", "0.25"]
    assert said[-1] == "c was not measured then"
    one_thread = made("a", 2.0, conditions=replace(CPU, threads=1))
    assert ratios(report(one_thread), report(made("z", 4.0))).endswith("a: threads 1 and 2")  # single ones are a pair


def test_code_is_compared_with_other_code_of_the_same_name() -> None:
    two = [made(name, time, code=code) for name in "ab" for code, time in (("old", 4.0), ("new", 2.0))]
    rows = [line.split() for line in table(report(*two)).splitlines() if line[:3] in ("a  ", "b  ")][:4]
    assert [row[-1] for row in rows] == ["1.00", "0.50", "1.00", "0.50"]
    assert [row[1] for row in rows] == ["old", "new", "old", "new"]


def test_a_table_says_what_stages_time_and_what_the_floor_is() -> None:
    said = table(report(made("a", 8.0)))
    assert "a processor, AVX2, float32, 2 threads, torch 2.11.0" in said
    assert "network: the forward pass" in said
    assert "2.0 GFLOP, 4.000 ms as a matrix product, 5.000 ms as 3 x 3 convolutions, 1.0 MB" in said
    assert next(line for line in said.splitlines() if line.startswith("a  ")).split()[-1] == "2.00"
