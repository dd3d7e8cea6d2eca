"""What stands for a checkpoint: a run's folder, `last`, a published name, an artifact of W&B."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from wandb.errors import CommError, UsageError

from stmask.checkpoint_path import artifact_path, checkpoint_path, evaluation_command
from stmask.config import compose
from stmask.errors import CheckpointError, ConfigError, DownloadError


def make_run(folder: Path, *checkpoints: str, started: str | None = None) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    for name in checkpoints:
        (folder / "checkpoints" / name).touch()
    if started is not None:
        (folder / "status.json").write_text(json.dumps({"state": "done", "started": started}))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STMASK_MIRROR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def test_a_file_is_itself(tmp_path: Path) -> None:
    assert checkpoint_path("a/b.ckpt") == Path("a/b.ckpt")
    assert checkpoint_path(tmp_path / "x.pth") == tmp_path / "x.pth"


@pytest.mark.parametrize(
    ("held", "taken"), [(("best.ckpt", "last.ckpt"), "best.ckpt"), (("last.ckpt",), "last.ckpt")]
)  # fmt: skip
def test_a_folder_of_a_run(tmp_path: Path, held: tuple[str, ...], taken: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_run(tmp_path / "run", *held)
    with caplog.at_level(logging.INFO):
        assert checkpoint_path(folder) == folder / "checkpoints" / taken
    assert taken in caplog.text


def test_a_folder_without_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no checkpoints/best\.ckpt or last\.ckpt: give a checkpoint, or"):
        checkpoint_path(tmp_path)


def test_the_newest_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_run(tmp_path / "runs/a/1", "last.ckpt", "best.ckpt", started="2026-01-03T00:00:00+00:00")
    make_run(tmp_path / "runs/b/sweeps/x/seed_0", "last.ckpt", started="2026-01-04T00:00:00+00:00")
    make_run(tmp_path / "runs/c", started="2026-01-09T00:00:00+00:00")  # nothing to evaluate yet
    make_run(tmp_path / "runs/d", "last.ckpt")  # not known when
    with caplog.at_level(logging.INFO):
        assert checkpoint_path("last") == Path("runs/b/sweeps/x/seed_0/checkpoints/last.ckpt")
    assert "the newest run is runs/b/sweeps/x/seed_0" in caplog.text
    assert checkpoint_path("last", runs=tmp_path / "runs/a") == tmp_path / "runs/a/1/checkpoints/best.ckpt"


def test_no_run_yet(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"no run with a checkpoint below {tmp_path}/runs: give checkpoint=RUN"):
        checkpoint_path("last")


def test_a_run_does_not_begin_from_whatever_was_last() -> None:
    with pytest.raises(ConfigError, match="init_from=last would be another run each time: give the folder of one"):
        checkpoint_path("last", purpose="init_from")


def test_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "STMask_plus_base.pth")
    monkeypatch.setenv("STMASK_MIRROR", str(tmp_path))
    assert checkpoint_path("STMask_plus_base") == cache / "weights" / "STMask_plus_base.pth"
    assert checkpoint_path("STMask_plus_base.pth") == Path("STMask_plus_base.pth")


def test_a_backbone_is_not_a_checkpoint() -> None:
    with pytest.raises(ConfigError, match="can't be given as init_from: give model.backbone.weights=resnet50_imagenet"):
        checkpoint_path("resnet50_imagenet", purpose="init_from")


@pytest.mark.parametrize("said", ["STMask_plus_bse", "stmask_plus_base", "weights/STMask_plus_base.pth"])
def test_a_file_that_is_not_there_but_could_be(said: str) -> None:
    with pytest.raises(CheckpointError, match=f"cannot read the checkpoint {said}: no such file; init_from=STMask_plu"):
        checkpoint_path(said, purpose="init_from")


# --- W&B


class Api:
    """As much of wandb.Api as is used."""

    def __init__(self, *names: str, version: str = "v3", error: Exception | None = None) -> None:
        self.names, self.version, self.error = names, version, error
        self.asked: list[str] = []

    def artifact(self, said: str) -> Any:
        self.asked.append(said)
        if self.error is not None:
            raise self.error
        return SimpleNamespace(
            version=self.version, manifest=SimpleNamespace(entries=dict.fromkeys(self.names)), get_entry=self.entry
        )

    def entry(self, name: str) -> Any:
        def download(*, root: str, skip_cache: bool) -> None:
            assert skip_cache
            Path(root, name).write_bytes(b"weights")

        return SimpleNamespace(download=download)


def test_an_artifact(cache: Path) -> None:
    api = Api("best.ckpt")
    path = artifact_path("me/videos/checkpoint-x1y2:best", api=api)
    assert path == cache / "wandb/me/videos/checkpoint-x1y2-v3/best.ckpt"
    assert path.read_bytes() == b"weights"
    assert api.asked == ["me/videos/checkpoint-x1y2:best"]


@pytest.mark.parametrize(
    ("api", "said"),
    [
        (Api(), "v3 holds nothing"),
        (Api("a.ckpt", "b.pth"), r"v3 holds a\.ckpt, b\.pth"),
        (Api("table.json"), r"v3 holds table\.json"),
        (Api("../best.ckpt"), r"v3 holds \.\./best\.ckpt"),
        (Api("/etc/best.ckpt"), "v3 holds /etc"),
        (Api("best.ckpt", version="../x"), r"\.\./x holds best\.ckpt"),
    ],
)
def test_artifacts_of_something_else(cache: Path, api: Api, said: str) -> None:
    with pytest.raises(CheckpointError, match=rf"the artifact a/b/c:d does not hold one checkpoint \({said}"):
        artifact_path("a/b/c:d", api=api)
    assert not cache.exists()


@pytest.mark.parametrize(
    "said", ["", "a/b/c", "b/c:best", "a/b/c:", "../../x:best", "a/../c:best", "a/b/c:d:e", "a b/c/d:e"]
)
def test_other_forms(said: str) -> None:
    with pytest.raises(ConfigError, match="must be wandb:ENTITY/PROJECT/NAME:VERSION, such as NAME:best"):
        checkpoint_path(f"wandb:{said}")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (UsageError("No authentication configured."), ConfigError, "W&B has no artifact .* for you .*: log in with"),
        (CommError("404: not found"), ConfigError, "log in with `wandb login` or set a valid WANDB_API_KEY, and check"),
        (ValueError("unable to find artifact: not found"), ConfigError, "check ENTITY/PROJECT/NAME:VERSION"),
        (CommError("server error"), DownloadError, "W&B does not give the artifact .*server error.*: try again later"),
        (ConnectionError("no route"), DownloadError, "no route"),
        (KeyError("a bug"), KeyError, "a bug"),
    ],
)
def test_what_wandb_says(error: Exception, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        artifact_path("a/b/c:d", api=Api(error=error))


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"^wandb:a/b/c:d needs wandb, .*: pip install 'stmask\[wandb\]'"):
        checkpoint_path("wandb:a/b/c:d")


@pytest.mark.slow
def test_without_a_key(tmp_path: Path) -> None:
    """W&B itself, which must not ask."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    environment |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "WANDB_MODE": "online"}
    call = "from stmask.checkpoint_path import checkpoint_path; checkpoint_path('wandb:a/b/c:best')"
    command = [sys.executable, "-c", call]
    ran = subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    assert "ConfigError: W&B has no artifact a/b/c:best for you (No API key configured" in ran.stderr


@pytest.mark.parametrize(
    ("folder", "options", "command"),
    [
        ("runs/demo/2026-01-01_00-00-00", {}, "stmask evaluate checkpoint=runs/demo/2026-01-01_00-00-00"),
        ("/elsewhere/run", {}, "stmask evaluate checkpoint=/elsewhere/run"),
        ("last", {}, "stmask evaluate checkpoint=./last"),
        ("runs/a,b [c]", {}, """stmask evaluate 'checkpoint="runs/a,b [c]"'"""),
        ("runs/x", {"split": "train"}, "stmask evaluate checkpoint=runs/x split=train"),
        ("runs/x", {"trust": ["m.A", "m.B"]}, "stmask evaluate checkpoint=runs/x 'trust=[m.A,m.B]'"),
    ],
)
def test_the_command_that_evaluates_a_run(folder: str, options: dict[str, Any], command: str) -> None:
    assert evaluation_command(folder, **options) == command
    overrides = shlex.split(command)[2:]
    cfg = compose("evaluate", overrides)
    assert Path(cfg.checkpoint) == Path(folder)
