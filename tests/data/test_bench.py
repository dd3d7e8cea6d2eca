"""The benchmark: each factor changes what it says and nothing else, and what it says rises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import stmask
from stmask.commands import data as data_command
from stmask.data import VideoDataset
from stmask.data.synthetic import SyntheticConfig, SyntheticVideo, bench, render_video, write_bench
from stmask.data.synthetic.factors import FACTORS, STEPS, Shot
from stmask.data.synthetic.measures import Measures, measure
from stmask.data.synthetic.render import render
from stmask.errors import ConfigError

VIDEOS = (0, 5)


@cache
def made(index: int, factor: str | None = None, step: int = 0) -> tuple[Shot, SyntheticVideo]:
    shot, rng = bench.bench_shot(index, factor, step)
    return shot, render(shot.scene, shot.config, rng)


def changed(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """The names of fields of two shots that differ; those of actors without their numbers."""
    if is_dataclass(before):
        for field in fields(before):
            yield from changed(getattr(before, field.name), getattr(after, field.name), f"{place}.{field.name}")
    elif isinstance(before, tuple) and before and is_dataclass(before[0]):
        for a, b in zip(before, after[-len(before) :], strict=True):  # what is added lies behind
            yield from changed(a, b, place)
    elif not np.all([np.array_equal(a, b) for a, b in zip(before, after, strict=True)] if isinstance(before, tuple)
                    else np.array_equal(before, after)):  # fmt: skip
        yield place.removeprefix(".scene").removeprefix(".")


CHANGED = {
    "occlusion": {"actors.motion.shift"},
    "blur": {"config.shutter"},
    "speed": {"actors.motion.pace", "actors.motion.middle"},
    "scale": {"actors.motion.pulse"},
    "camera": {"camera.zoom", "camera.roll", "camera.frequencies", "camera.phases"},
    "crowding": set[str](),
    "lookalikes": {"actors.label", "actors.outline", "actors.texture"},
}


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("step", STEPS)
def test_a_factor_changes_what_it_says_and_nothing_else(factor: str, step: int) -> None:
    for index in VIDEOS:
        (before, _), (after, _) = made(index), made(index, factor, step)
        assert set(changed(before, after)) == CHANGED[factor]
        more = int(FACTORS[factor].amounts[step - 1]) if factor == "crowding" else 0
        assert len(after.scene.actors) == len(before.scene.actors) + more


def test_step_0_is_the_plain_validation_video() -> None:
    for index in VIDEOS:
        plain = render_video(SyntheticConfig.preset("bench"), seed=0, split="valid", index=index)
        assert (made(index)[1].frames == plain.frames).all()
        assert (made(index)[1].masks == plain.masks).all()


@pytest.mark.parametrize("step", STEPS)
def test_blur_keeps_the_masks(step: int) -> None:
    for index in VIDEOS:
        (_, before), (_, after) = made(index), made(index, "blur", step)
        assert (before.masks == after.masks).all()
        assert (before.frames != after.frames).any()


@pytest.mark.parametrize("step", STEPS)
def test_a_crowd_lies_behind_and_hides_nothing(step: int) -> None:
    for index in VIDEOS:
        (_, before), (_, after) = made(index), made(index, "crowding", step)
        n, more = len(before.labels), int(FACTORS["crowding"].amounts[step - 1])
        assert after.labels[-n:] == before.labels
        assert (after.masks[-n:] == before.masks).all()
        around = np.ones((5, 5), np.uint8)  # the edges of what is added
        added = [cv2.dilate(frame.astype(np.uint8), around) for frame in after.masks[:more].any(axis=0)]
        untouched = np.stack(added) == 0
        assert untouched.mean() > 0.3
        assert (
            before.frames[untouched] != after.frames[untouched]
        ).mean() < 1e-3  # the same noise; slivers have no mask


@pytest.mark.parametrize("factor", FACTORS)
def test_its_measure_rises_and_the_others_stay(factor: str) -> None:
    def means(name: str | None, step: int) -> dict[str, float]:
        found = [asdict(measure(*made(index, name, step))) for index in VIDEOS]
        return {key: float(np.mean([one[key] for one in found])) for key in found[0]}

    own = FACTORS[factor].measure
    steps = [means(None, 0), *(means(factor, step) for step in STEPS)]
    values = [step[own] for step in steps]
    assert values == sorted(set(values)), f"{own} is {values}"
    allowed = {own, *({"hidden", "speed", "scale_change", "likeness"} if factor == "crowding" else ())}
    for other in {field.name for field in fields(Measures)} - allowed:
        slack = 0.15 if other == "hidden" else 0.0  # where objects are decides what they hide
        assert all(abs(step[other] - steps[0][other]) <= slack + 1e-6 for step in steps), other


def test_every_factor_has_a_measure_of_its_own() -> None:
    assert {factor.measure for factor in FACTORS.values()} == {field.name for field in fields(Measures)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bench(tmp_path_factory.mktemp("bench") / "set", videos=1, valid_videos=2, factor_videos=1)


def test_the_sets_are_splits_of_one_root_that_state_what_they_are(written: Path) -> None:
    splits = {"train": (None, 0), "valid": (None, 0), **bench.FACTOR_SETS}
    assert {path.stem for path in written.glob("*.json")} == set(splits)
    assert len(splits) == 23
    for split, (factor, step) in splits.items():
        content = json.loads((written / f"{split}.json").read_text())
        said = {"benchmark": "bench", "version": bench.VERSION, "factor": factor, "step": step, "seed": 0}
        assert said.items() <= content["info"].items()
        assert ("measures" in content["videos"][0]) == (split != "train")
        dataset = VideoDataset.from_root(written, split)
        assert dataset.video_id(0) == 1
        assert dataset.read_frame(0, 0).shape == (96, 160, 3)
        assert dataset.frame_path(0, 0).relative_to(written).parts[0] == split


def test_a_change_of_the_videos_is_a_new_version() -> None:
    """If this fails, raise bench.VERSION, and write the new digest here."""
    settings = [asdict(SyntheticConfig.preset("bench")), [(name, f.amounts) for name, f in FACTORS.items()]]
    counts = [bench.TRAIN_VIDEOS, bench.VALID_VIDEOS, bench.FACTOR_VIDEOS]
    digest = hashlib.sha256(json.dumps([settings, counts]).encode()).hexdigest()[:16]
    areas = [int(made(index)[1].masks.sum()) for index in VIDEOS]
    assert (bench.VERSION, digest) == (1, "cb1f6a4f750e8a20")
    assert areas == pytest.approx([41782, 30004], rel=1e-3)


@pytest.mark.parametrize("option", ["--videos 3", "--seed 1", "--size 48x80", "--noise 1"])
def test_nothing_of_the_benchmark_can_be_chosen(option: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"bench .*{option.split()[0]}"):
        data_command.main(["synthesize", str(tmp_path / "set"), "--preset", "bench", *option.split()])
    assert not (tmp_path / "set").exists()


def rows_of_page(first: str) -> dict[str, list[str]]:
    """The rows of the page's table with this first column's name, by their first cell."""
    page = (Path(stmask.__file__).parents[1] / "docs/benchmark-synthetic.md").read_text()
    lines = page.split(f"| {first} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip(" *`") for cell in line.strip("|").split("|")] for line in lines]
    return {name: rest for name, *rest in cells}


@pytest.mark.skipif(not (Path(stmask.__file__).parents[1] / "docs").is_dir(), reason="needs a checkout")
def test_the_page_has_the_amounts_and_measures() -> None:
    amounts = {name: [f"{amount:g}" for amount in factor.amounts] for name, factor in FACTORS.items()}
    assert {name: cells[1:] for name, cells in rows_of_page("factor").items()} == amounts
    stated = rows_of_page("set")
    assert list(stated) == ["valid", *bench.FACTOR_SETS]
    for name, (factor, step) in {"valid": (None, 0), "valid_camera_3": ("camera", 3)}.items():
        found = []
        for index in range(bench.FACTOR_VIDEOS):
            shot, rng = bench.bench_shot(index, factor, step)
            found.append(asdict(measure(shot, render(shot.scene, shot.config, rng))))
        means = [float(np.mean([one[key] for one in found])) for key in found[0]]
        assert [float(cell) for cell in stated[name]] == pytest.approx(means, abs=0.006)
