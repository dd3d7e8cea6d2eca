"""`stmask weights`, as it is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hub.server import Server

from stmask import hub
from stmask.cli import main
from stmask.hub import PublishedFile

Publish = Callable[..., PublishedFile]


def test_list(publish: Publish, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish("mine")
    publish("theirs", serves=(), megabytes="12.5")
    hub.fetched("mine")
    assert main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(hub.names()) - 2]] == hub.names()[:-2]
    assert next(line for line in lines if " mine " in line).split() == ["*", "mine", "0.3", "MB", "a", "network"]
    assert next(line for line in lines if " theirs " in line).split()[:3] == ["theirs", "12.5", "MB"]
    assert next(line for line in lines if " theirs " in line).endswith("(not read by stmask yet)")
    assert f"in the cache (*): {cache}" in lines


def test_all_that_is_known(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert main(["weights", "list", "STMask_plus_resnet50_ali", "resnet50_imagenet"]) == 0
    said = capsys.readouterr().out
    for fact in (
        "address  https://drive.google.com/file/d/1ZWIH0oFL8kNU4roe-kwiL9Q8lGgZ8MwJ/view",
        "use      checkpoint=STMask_plus_resnet50_ali, init_from=STMask_plus_resnet50_ali",
        "use      model.backbone.weights=resnet50_imagenet",
        "SHA-256  begins with 0676ba61",
        "SHA-256  not published: recorded at the first use",
        "licence  the authors' repository states no licence",
        "tried    never",
        f"file     {cache}/weights/STMask_plus_resnet50_ali.pth (not fetched yet)",
        "warning  the authors give one address for",
    ):
        assert f"  {fact}" in said


def test_get_and_verify(server: Server, publish: Publish, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish("one")
    publish("two")
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out == f"nothing to verify in {cache}\n"
    assert main(["weights", "get", "one", "two"]) == 0
    assert capsys.readouterr().out == f"{cache}/weights/one.pth\n{cache}/weights/two.pth\n"
    assert main(["weights", "verify"]) == 0
    recorded = "the SHA-256 is the one of its first use; its authors published none"
    assert capsys.readouterr().out == f"one: {recorded}\ntwo: {recorded}\n"
    (cache / "weights" / "two.pth").write_bytes(b"other")
    assert main(["weights", "verify"]) == 2
    out, err = capsys.readouterr()
    assert "two: DIFFERENT" in out
    assert err == (
        f"stmask: error: not what was fetched: {cache}/weights/two.pth; remove it, and it is fetched again\n"
    )
    assert main(["weights", "verify", "one"]) == 0


def test_a_misspelt_name_is_told_before_the_first_is_fetched(
    server: Server, publish: Publish, capsys: pytest.CaptureFixture[str]
) -> None:
    publish("one")
    assert main(["weights", "get", "one", "STMask_plus_bas"]) == 2
    assert capsys.readouterr().err.endswith("did you mean STMask_plus_base?\n")
    assert server.asked == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("stmask weights ", "get list verify"),
        ("stmask weights ve", "verify"),
        ("stmask weights get STMask_plus_base_al", "STMask_plus_base_ali"),
        ("stmask weights list resnet18_imagenet resnet1", "resnet101_reducedfc resnet101_imagenet"),
        ("stmask weights none ", ""),
        ("stmask data show x", ""),
        ("stmask data sp", "split"),
    ],
)
def test_completion(line: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert main(["-sc", "query=bash"]) == 0
    assert capsys.readouterr().out == f"{words}\n"
