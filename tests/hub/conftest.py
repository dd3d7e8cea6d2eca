from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hub.server import Server, serving

from stmask.hub import PublishedFile, table


def weights_file(value: float) -> bytes:
    """A file of weights, 256 kB long."""
    stream = io.BytesIO()
    torch.save({"weight": torch.full((64_000,), value)}, stream)
    return stream.getvalue()


CONTENT = weights_file(1.0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Hands out `CONTENT`; whoever asks it waits neither long nor between two tries."""
    monkeypatch.setattr("stmask.hub.download.TIMEOUT", 0.3)
    monkeypatch.setattr("stmask.hub.download.PAUSE", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(CONTENT) as served:
        yield served


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that downloads are kept in; not made yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("STMASK_CACHE", str(folder))
    monkeypatch.delenv("STMASK_MIRROR", raising=False)
    return folder


@pytest.fixture
def publish(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PublishedFile]:
    """Puts a row into the table, of a file that the server hands out; values of the row can be given."""
    rows = dict(table._rows())
    monkeypatch.setattr(table, "_rows", lambda: rows)

    def add(name: str = "net", **values: object) -> PublishedFile:
        file = PublishedFile(
            name=name, file=f"{name}.pth", address=f"{server.address}/{name}.pth",
            serves=("checkpoint", "init_from", "backbone"), sha256="", megabytes="", licence="MIT", about="a network",
            warning="", tried="",
        )  # fmt: skip
        rows[name] = dataclasses.replace(file, **values)  # type: ignore[arg-type]
        return rows[name]

    return add
