from __future__ import annotations

from pathlib import Path

import pytest

from stmask import exports
from stmask.cli import main

CHECKPOINT = str(Path(__file__).parent / "checkpoints" / "data" / "format1.ckpt")


def test_another_format_is_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.py").write_text(
        'SUMMARY, SUFFIX = "names", ".txt"\n\n'
        "def write(model, path):\n"
        "    open(path, 'w').write(' '.join(name for name, _ in model.named_children()))\n"
        '    return "names"\n'
    )
    monkeypatch.setattr(exports, "__path__", [*exports.__path__, str(tmp_path)])
    assert exports.formats() == ["names", "official", "onnx", "openvino", "pt2"]
    out = tmp_path / "names.txt"
    assert main(["export", CHECKPOINT, str(out)]) == 0
    assert out.read_text() == "backbone fpn protonet head temporal"
    assert capsys.readouterr().out == f"written: {out} (names)\n"


def test_an_unknown_format_is_refused_with_those_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", CHECKPOINT, str(tmp_path / "out"), "--format", "onyx"]) == 2
    assert "'onyx' (choose from" in capsys.readouterr().err
