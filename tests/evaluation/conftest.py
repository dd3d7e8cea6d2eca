from __future__ import annotations

import pytest

from stmask.formats import packed


@pytest.fixture(params=["compiled", "arrays"])
def each_implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test with the C module, where it is built, and without it."""
    if request.param == "arrays":
        monkeypatch.setattr(packed, "_compiled", None)
    elif packed._compiled is None:
        pytest.skip("the C module is not built")
