from __future__ import annotations

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import av
import pytest
from PIL import Image
from report.conftest import NAMELESS, SECRET, Made

import stmask.cli
from stmask.commands.report import main
from stmask.errors import ConfigError, DataError, OutputError
from stmask.files import read_json, write_json

EMPTY = {"meta", "link", "img", "br", "hr", "circle", "path", "line"}


class Page(HTMLParser):
    """What a page consists of; raises where an end has no beginning."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY or (tag == "circle" and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def content(address: str | None) -> bytes:
    assert address is not None
    return base64.b64decode(address.partition(",")[2], validate=True)


def test_the_page_is_whole_and_needs_nothing_else(page: Path) -> None:
    read = Page(page)
    for _, attributes in read.elements:
        for name in ("src", "href", "poster", "srcset"):
            assert re.match("data:|#", attributes.get(name) or "#")
        assert not any(name.startswith("on") for name in attributes)
    assert not read.all("script")
    assert "url(" not in page.read_text()
    assert "@import" not in page.read_text()
    identities = [attributes["id"] for _, attributes in read.elements if attributes.get("id")]
    assert len(identities) == len(set(identities))
    assert {link["href"] for link in read.all("a")} <= {f"#{identity}" for identity in identities}


def test_what_is_on_it(page: Path, made: Made) -> None:
    read = Page(page)
    sections = [part["id"] for part in read.all("section")]
    assert sections == ["overview", "curves", "metrics", "classes", "errors", "clips", "videos", "setup"]
    assert len(read.all("h1")) == 1
    assert all(svg["aria-label"] for svg in read.all("svg"))
    assert all(image["alt"] for image in read.all("img"))
    assert all(film["aria-label"] and "controls" in film for film in read.all("video"))
    for cause in ("wrong class", "poor time span", "identity switch", "duplicate", "missed"):
        assert any(image["alt"].startswith(cause) for image in read.all("img"))  # type: ignore[union-attr]
    assert "valid00000" in read.text
    assert "torch 2.8" in read.text
    assert "The run recorded AP 30.0, not" in read.text  # its figures.json was made up


def test_pictures_and_clips_can_be_decoded(page: Path) -> None:
    read = Page(page)
    for image in read.all("img"):
        with Image.open(io.BytesIO(content(image["src"]))) as picture:
            assert (str(picture.width), str(picture.height)) == (image["width"], image["height"])
    assert len(read.all("video")) == 2
    for film in read.all("video"):
        with av.open(io.BytesIO(content(film["src"]))) as container:
            assert len(list(container.decode(video=0))) == 4


def test_names_from_files_are_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "onerror=alert(1)>" not in text
    read = Page(page)
    assert NAMELESS in read.text
    assert "<script>alert('class')</script>&\"" in read.text


def test_secrets_stay_where_they_are(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert SECRET not in text
    assert text.count("(hidden)") >= 3


def test_results_alone(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without images that is said; the two files come in any order."""
    for path in (made.truth, made.results):
        shutil.copy(path, tmp_path)
    assert main([str(tmp_path / "valid.json"), str(tmp_path / "results.json")]) == 0
    output = tmp_path / "report.html"
    said = capsys.readouterr().out
    assert said == f"written: {output} ({output.stat().st_size / 1e6:.1f} MB)\n"
    read = Page(output)
    assert not read.all("img") + read.all("video")
    assert "were not found beside it: `frames=FOLDER` says where they are" in read.text
    assert "How long each video took is not known" in read.text
    frames = made.root / "valid" / "JPEGImages"
    assert main([str(tmp_path / "results.json"), str(tmp_path / "valid.json"), f"frames={frames}", "clips=1"]) == 0
    assert len(Page(output).all("video")) == 1


def test_a_run_with_results_of_an_evaluation(made: Made, tmp_path: Path) -> None:
    output = tmp_path / "a.html"
    assert main([str(made.run), str(made.results), str(made.truth), f"output={output}", "clips=0"]) == 0
    read = Page(output)
    assert "The run recorded" not in read.text
    assert "400.0" not in read.text
    assert "100.0" in read.text  # 0.4 s for 4 frames


def test_the_page_stays_small(made: Made, tmp_path: Path) -> None:
    output = tmp_path / "a.html"
    assert main([str(made.run), f"output={output}", "megabytes=0.02"]) == 0
    assert output.stat().st_size < 200_000
    assert "left out to keep the page small; megabytes= allows more" in Page(output).text


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: young\n")
    assert main([str(tmp_path)]) == 0
    assert "No validation was recorded yet, so there is nothing to score." in Page(tmp_path / "report.html").text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("_target_: stmask.data.ImageDataModule", "The run is one of images"),
        ("root: [1]", "data.root of its config.yaml is not a path"),
        ("valid_annotations: ${oc.env:HOME}", "data.valid_annotations of its config.yaml is not a path"),
        ("valid_annotations: /nowhere/valid.json", "no such file: /nowhere/valid.json"),
        ("valid: valid", "its config.yaml does not say where"),
    ],
)
def test_what_cannot_be_scored_is_said(data: str, said: str, made: Made, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made.run, run)
    (run / "config.yaml").write_text(f"name: a\nmonitor: valid/AP\ndata:\n  {data}\n")
    assert main([str(run)]) == 0
    assert said in Page(run / "report.html").text


def test_results_in_the_folder_of_a_run_without_validations(made: Made, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: young\n")
    results = tmp_path / "evaluation" / "results.json"
    results.parent.mkdir()
    shutil.copy(made.results, results)
    assert main([str(tmp_path), str(results), str(made.truth), "clips=1"]) == 0
    assert len(Page(tmp_path / "report.html").all("video")) == 1


def test_a_dataset_that_was_moved(made: Made, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made.run, run)
    (run / "config.yaml").write_text("name: a\nmonitor: valid/AP\ndata:\n  root: /nowhere\n  valid: valid\n")
    assert main([str(run)]) == 0
    assert "data.root=FOLDER says where" in Page(run / "report.html").text
    assert main([str(run), f"data.root={made.root}", "clips=1"]) == 0
    assert len(Page(run / "report.html").all("video")) == 1


def test_a_frame_that_is_broken_costs_its_pictures(made: Made, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(made.root, root)
    first = sorted((root / "valid/JPEGImages").iterdir())[0]
    for path in first.iterdir():
        path.write_bytes(b"not a picture")
    output = tmp_path / "a.html"
    assert main([str(made.results), str(root / "valid.json"), f"output={output}"]) == 0
    read = Page(output)
    assert "could not be drawn, the first: " in read.text
    assert read.all("img")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["RUN", "RUN"], ConfigError, "usage: stmask report RUN, "),
        ([], ConfigError, "got nothing"),
        (["RESULTS"], ConfigError, "usage: "),
        (["RESULTS", "RESULTS"], ConfigError, "are both results .lists of tracks.; usage"),
        (["TRUTH", "TRUTH"], ConfigError, "are both ground truth"),
        (["RUN", "clip=3"], ConfigError, "stmask report has no key clip; did you mean clips"),
        (["RUN", "clips=many"], ConfigError, "clips must be a whole number, got many"),
        (["RUN", "clips=-1"], ConfigError, "must not be negative"),
        (["RUN", "output="], ConfigError, "output= needs a value"),
        (["RUN", "output=FOLDER/a.pdf"], OutputError, "a report's name ends in .html"),
        (["RUN", "output=FOLDER/mine.html"], OutputError, "exists already and is not a report of stmask's"),
        (["RESULTS", "FOLDER/missing.json"], DataError, "no such file"),
        (["RESULTS", "FOLDER/other.json"], DataError, "video_id 1 is not a video of the ground truth"),
        (["RESULTS", "TRUTH", "frames=FOLDER"], DataError, "has none of the frames"),
        (["FOLDER"], DataError, "is not the folder of a run"),
    ],
)
def test_what_it_refuses(words: list[str], error: type[Exception], message: str, made: Made, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    truth = read_json(made.truth)
    for video in truth["videos"]:
        video["id"] += 100
    for track in truth["annotations"]:
        track["video_id"] += 100
    write_json(tmp_path / "other.json", truth)
    places = {"RUN": made.run, "RESULTS": made.results, "TRUTH": made.truth, "FOLDER": tmp_path}
    for name, path in places.items():
        words = [word.replace(name, str(path)) for word in words]
    with pytest.raises(error, match=message):
        main(words)
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
    assert {path.name for path in tmp_path.iterdir()} == {"mine.html", "other.json"}


def test_from_the_shell(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert stmask.cli.main(["report", str(made.run), "clip=1"]) == 2
    assert capsys.readouterr().err == "stmask: error: stmask report has no key clip; did you mean clips?\n"
