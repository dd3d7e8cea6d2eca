from __future__ import annotations

import pytest

from stmask.config_overrides import argument, as_hydra_reads, quoted
from stmask.errors import ConfigError

TEXTS = {"name", "device"}


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")


def value_of(override: str) -> object:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(override).value()


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("data.root=~/ytvis", "/home/me/ytvis"),
        ("data.root='~/ytvis'", "/home/me/ytvis"),
        ("output=~", "/home/me"),
        ("model.backbone.weights=~/r50.pth", "/home/me/r50.pth"),
        ("data.root=/données/人", "/données/人"),
        ("data.root=/a,b/c=d: (1) [x] {y}%@#!&;", "/a,b/c=d: (1) [x] {y}%@#!&;"),
        ("data.root=C:\\data\\", "C:\\data\\"),
        ("data.root=a\\(b", "a\\(b"),
        ("data.root=it's", "it's"),
        ("data.root='", "'"),
        ('data.root="', '"'),
        ('data.root=a\'b"c\\"', 'a\'b"c\\"'),
        ("data.root=2019", "2019"),
        ("data.root=1.50", "1.50"),
        ("data.root=run(1)", "run(1)"),
        ("+output_dir=é", "é"),
        ("name=007", "007"),
        ("name=1e3", "1e3"),
        ("name=true", "true"),
        ("name=a,b", "a,b"),
        ("name= a", " a"),
        ("device=~", "~"),
        ("monitor=é", "é"),
        # left to Hydra
        ("data.root=null", None),
        ("data.root=plain/path.json", "plain/path.json"),
        ("data.root=${oc.env:HOME}/x", "${oc.env:HOME}/x"),
        ("name=[a,b]", ["a", "b"]),
        ("seed=3", 3),
        ("tags=[a,b]", ["a", "b"]),
        # within lists and dicts
        ("tags=[données,~x,a=b,'c,d']", ["données", "~x", "a=b", "c,d"]),
        ("data.mix=[{root:~/coco,weight:2}]", [{"root": "~/coco", "weight": 2}]),
    ],
)
def test_what_is_typed_goes_in(typed: str, means: object) -> None:
    (readable,) = as_hydra_reads([typed], texts=TEXTS)
    assert value_of(readable) == means
    assert as_hydra_reads([readable], texts=TEXTS) == [readable]


@pytest.mark.parametrize("override", ["~scheduler", "~data.root=x", "model/head/align=ada", "name=abc", "foo", "=3"])
def test_what_needs_nothing_is_left_alone(override: str) -> None:
    assert as_hydra_reads([override], texts=TEXTS) == [override]


@pytest.mark.parametrize(
    ("typed", "readable"),
    [
        ("data.root=a,b", "data.root=a,b"),
        ("data.root=~/a,/é", 'data.root="/home/me/a","/é"'),
        ("name=1,2", 'name="1","2"'),
        ("name='a,b',c", "name='a,b',c"),
        ("optimizer.lr=1e-3,1e-4", "optimizer.lr=1e-3,1e-4"),
        ("tags=[a,b],[c]", "tags=[a,b],[c]"),
        ("data.root=choice(a,b)", "data.root=choice(a,b)"),
        ("seed=range(0,3)", "seed=range(0,3)"),
    ],
)
def test_with_several_runs_a_comma_separates_values(typed: str, readable: str) -> None:
    assert as_hydra_reads([typed], texts=TEXTS, sweep=True) == [readable]


def test_a_comma_that_may_be_either_is_refused_with_what_to_type() -> None:
    with pytest.raises(ConfigError, match="a comma separates values") as caught:
        as_hydra_reads(["data.root=/a(1,/b"], sweep=True)
    assert str(caught.value).endswith("'data.root=\"/a(1,/b\"' is one value")


@pytest.mark.parametrize("typed", ["data.root=~nobody-here/x", "data.root='~nobody-here/x'"])
def test_a_user_who_does_not_exist(typed: str) -> None:
    with pytest.raises(ConfigError, match=r"no user 'nobody-here' on this machine; a folder of that name is"):
        as_hydra_reads([typed])


@pytest.mark.parametrize("text", ["", "a", "'", '"', "\\", "a'\\", 'a"\\"', "\\'", "a\nb"])
def test_quoted_texts_are_read_back(text: str) -> None:
    assert value_of(f"key={quoted(text)}") == text


def test_an_argument_for_the_shell() -> None:
    assert argument("name", "a b") == "'name=\"a b\"'"
