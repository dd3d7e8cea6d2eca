from __future__ import annotations

import platform

import pytest

from stmask.engine.memory import keep_freed_memory


def test_glibc_is_told_to_keep_freed_memory() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


def test_what_the_user_said_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()
