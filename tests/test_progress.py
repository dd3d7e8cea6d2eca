from __future__ import annotations

import pytest

from stmask import progress
from stmask.progress import ProgressLines


@pytest.mark.parametrize(
    ("total", "first", "seconds", "lines"),
    [
        (100, 0, [0, 30, 59], []),
        (100, 0, [0, 30, 61, 90, 122], ["evaluating: 2 of 100 frames, about 50 minutes left",
                                         "evaluating: 4 of 100 frames, about 49 minutes left"]),
        (None, 0, [0, 61], ["evaluating: 1 frames"]),
        (4, 2, [0, 100], ["evaluating: 3 of 4 frames, about 2 minutes left"]),  # goes on from step 2
        (3, 0, [0, 100, 110], ["evaluating: 1 of 3 frames, about 3 minutes left"]),
        (2, 0, [0, 70], ["evaluating: 1 of 2 frames, about a minute left"]),
    ],
)  # fmt: skip
def test_a_line_a_minute(
    total: int | None,
    first: int,
    seconds: list[float],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown, hidden = (ProgressLines("evaluating", total, "frames", wanted=wanted) for wanted in (True, False))
    for done, second in enumerate(seconds, start=first):
        now[0] = second
        shown.reached(done)
        hidden.reached(done)
    assert caplog.messages == lines
