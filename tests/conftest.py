from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

# How long a test takes says nothing of the code on a machine that others use too.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


_DAEMONS = f"{os.environ.get('PATH', '')}:/usr/sbin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacks = {
        "gpu": None if torch.cuda.is_available() else "needs a CUDA device",
        "browser": None if any(map(shutil.which, BROWSERS)) else "needs Chromium",
        "slurm": None if shutil.which("slurmctld", path=_DAEMONS) and os.geteuid() == 0 else "needs slurmctld and root",
        "sampler": None if importlib.util.find_spec("spatial_correlation_sampler") else "needs `make sampler`",
    }
    for item in items:
        for marker, reason in lacks.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)  # no process is left alone with a long one


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    """One unless the environment says more: the test processes have the cores already."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings of the user's shell inside, no logging of a Hydra run left behind."""
    for name in ("STMASK_CONF", "STMASK_DATA", "STMASK_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:], root.level = handlers, level
