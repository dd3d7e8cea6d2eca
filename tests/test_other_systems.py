"""What Windows lacks is not needed to import stmask."""

from __future__ import annotations

import subprocess
import sys

_IMPORT_ALL = """
import builtins, os, pkgutil, signal, sys
import albumentations, av, cv2, hydra, pytorch_lightning, torch, torchmetrics, torchvision
import stmask

of_python = builtins.__import__


def without(name, *args, **more):
    ours = (args[0] if args and args[0] else {}).get("__name__", "").startswith("stmask")
    if ours and name in ("fcntl", "resource", "pwd", "grp", "termios"):
        raise ImportError(f"{name} is not on Windows")
    return of_python(name, *args, **more)


builtins.__import__ = without
del os.register_at_fork, os.pread, os.pwrite, os.fork, os.killpg, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP
count = 0
for module in pkgutil.walk_packages(stmask.__path__, "stmask."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
        count += 1
print(count)
from pathlib import Path
from stmask.runs.folder import RunFolder
from stmask.runs.lock import is_locked, lock
with lock(Path(sys.argv[1])):
    print(is_locked(Path(sys.argv[1])))
"""


def test_modules_import_and_folders_are_used_without_locks(tmp_path: object) -> None:
    words = [sys.executable, "-c", _IMPORT_ALL, f"{tmp_path}/run"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    count, locked = ran.stdout.split()
    assert int(count) > 200
    assert locked == "False"
    assert "no locks for folders" in ran.stderr
