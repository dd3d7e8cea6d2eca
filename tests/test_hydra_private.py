"""One test for each thing that stmask/hydra_private.py takes from inside Hydra, which says what has changed."""

from __future__ import annotations

import argparse
from typing import Any

import hydra
import pytest
from hydra.errors import HydraException

from stmask.hydra_private import configs_of, flag_parser, glob_of, is_sweep, parse, set_aside

CHANGED = "Hydra has changed what stmask/hydra_private.py takes from inside it: "


@pytest.mark.parametrize(
    ("override", "key", "group", "value"),
    [
        ("a.b=3", "a.b", "a.b", 3),
        ("+a='x,y'", "+a", "a", "x,y"),
        ("model/head@model.other=x", "model/head@model.other", "model/head", "x"),
        ("a=[1,{b:null}]", "a", "a", [1, {"b": None}]),
    ],
)
def test_the_parser_of_overrides(override: str, key: str, group: str, value: Any) -> None:
    found = parse(override)
    assert (found.get_key_element(), found.key_or_group, found.value()) == (key, group, value), (
        f"{CHANGED}OverridesParser, Override"
    )


def test_the_parser_refuses_with_an_error_of_hydras() -> None:
    with pytest.raises(HydraException):
        parse("a=[")


@pytest.mark.parametrize(
    ("text", "sweep", "of_commas"),
    [("1", False, False), ("[1,2]", False, False), ("1,2", True, True), ("choice(1,2)", True, False),
     ("range(0,3)", True, False), ("interval(0,3)", True, False)],
)  # fmt: skip
def test_the_kinds_of_sweeps(text: str, sweep: bool, of_commas: bool) -> None:
    value = parse(f"a={text}").value()
    assert (is_sweep(value), is_sweep(value, of_commas=True)) == (sweep, of_commas), f"{CHANGED}Sweep, simple_form"


def test_the_patterns_of_a_glob() -> None:
    assert glob_of(parse("a=glob([x*,y/*],exclude=z)").value()) == (["x*", "y/*"], ["z"]), f"{CHANGED}Glob"
    assert glob_of(parse("a=x").value()) is None


def test_the_parser_of_flags() -> None:
    parser = flag_parser()
    assert isinstance(parser, argparse.ArgumentParser), f"{CHANGED}get_args_parser"
    found = parser.parse_intermixed_args(["a=1", "-m", "--cfg", "job", "b=2", "--config-dir", "x"])
    read = (found.overrides, found.multirun, found.cfg, found.info, found.shell_completion, found.config_dir)
    assert read == (["a=1", "b=2"], True, "job", None, False, "x"), f"{CHANGED}the flags of get_args_parser"


def test_the_files_of_a_configuration() -> None:
    from stmask.config import conf_dir

    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        found = list(configs_of("train", ["recipe=tiny", "seed=3"]))
    places = [(file, package) for file, package, _ in found]
    expected = [
        ("trainer/default.yaml", "trainer"), ("trainer/cpu.yaml", "trainer"), ("model/head/fca.yaml", "model.head"),
        ("train.yaml", ""), ("recipe/tiny.yaml", ""),
    ]  # fmt: skip
    assert [place for place in places if place in expected] == expected, (
        f"{CHANGED}compute_defaults_list, ResultDefault"
    )
    (tiny,) = (content for file, _, content in found if file == "recipe/tiny.yaml")
    assert tiny.trainer.max_steps == 200, f"{CHANGED}get_sources"


def test_the_state_of_an_application_outlives_another_one() -> None:
    from hydra.core.global_hydra import GlobalHydra

    with hydra.initialize(version_base="1.3"):
        outer: Any = GlobalHydra.instance().hydra
        assert outer is not None, f"{CHANGED}GlobalHydra.instance().hydra"
        with set_aside(), hydra.initialize(version_base="1.3"):
            assert GlobalHydra.instance().hydra is not outer
        assert GlobalHydra.instance().hydra is outer, f"{CHANGED}GlobalHydra.instance().hydra"
    assert not GlobalHydra.instance().is_initialized()


def test_our_launchers_are_found_where_hydra_looks_for_plugins() -> None:
    from hydra.core.plugins import Plugins
    from hydra.plugins.launcher import Launcher

    found = {f"{kind.__module__}.{kind.__name__}" for kind in Plugins.instance().discover(Launcher)}
    ours = {f"hydra_plugins.stmask_launchers.{name}" for name in ("InTurn", "Gpus", "Slurm")}
    assert ours <= found, f"{CHANGED}the namespace hydra_plugins"
