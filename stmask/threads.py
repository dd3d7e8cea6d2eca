"""How many threads a process of stmask's own computes with, and how they wait for each other.

OpenMP's threads spin while they wait. On an idle machine that is quick; beside another busy process they spin away the
time that the one they wait for would need. So commands let them spin for less than a millisecond and then sleep, which
the OpenMP library reads once, when torch is imported; and they leave cores to others that are busy when the work
begins. What the user's environment says goes first. A process that merely imports stmask is left as it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

THREADS = "OMP_NUM_THREADS"
_SPINS = "GOMP_SPINCOUNT"  # of libgomp, which PyTorch's wheels for Linux bring
_SPIN = "10000"  # times: fewer cost an idle machine more than 5 %; the default of 300000 costs a busy one 50 times
_USERS_THREADS = (THREADS, "MKL_NUM_THREADS")
_USERS_WAITING = (_SPINS, "OMP_WAIT_POLICY")
_WINDOW = 0.25  # seconds that the machine is looked at, at least
_IDLE = (3, 4)  # columns of /proc/stat that are not work: idle, waiting for a disk
_COLUMNS = 7  # of it: user, nice, system, idle, iowait, irq, softirq; what follows is counted already, or not here


@dataclass(frozen=True)
class Machine:
    """What this process may use.

    Attributes:
        cpus: numbers of the processors that it may run on.
        cores: of these processors; two of one core count once.
        quota: processors' worth of time that its control group may use; None without a limit.
        group: the file that counts the group's time, and in how many parts of a second; None without a limit.
    """

    cpus: frozenset[int]
    cores: int
    quota: float | None = None
    group: tuple[Path, float] | None = None

    @property
    def limit(self) -> int:
        """Threads that can run at a time."""
        return self.cores if self.quota is None else max(1, min(self.cores, int(self.quota)))

    @classmethod
    def here(cls, root: Path = Path("/")) -> Machine | None:
        """Reads affinity, topology and control groups (versions 1 and 2); None where the system does not tell.

        Args:
            root: of the file system with /proc and /sys.
        """
        if not hasattr(os, "sched_getaffinity"):
            return None
        cpus = frozenset(os.sched_getaffinity(0))
        quotas = list(_quotas(root))
        quota, *group = min(quotas) if quotas else (None, None)
        return cls(cpus, _cores(cpus, root), quota, group[0])


@dataclass(frozen=True)
class Counters:
    """Seconds of processor time so far, since whenever: only differences mean something.

    Attributes:
        clock: what a clock shows.
        own: of this process and those that it has waited for.
        busy: of all processes on this machine's `cpus`; None where the system does not tell.
        group: of the control group that has the quota; None without one.
    """

    clock: float
    own: float
    busy: float | None
    group: float | None

    @classmethod
    def now(cls, machine: Machine, root: Path = Path("/")) -> Counters:
        """Reads them."""
        return cls(time.monotonic(), sum(os.times()[:4]), _busy(machine.cpus, root), _group(machine))


def threads_beside_others(machine: Machine, before: Counters, now: Counters) -> tuple[int, float]:
    """The threads that a process should compute with, and how many cores others kept busy between two moments.

    As many as there are cores that nobody uses, but not less than half of all: where every core is busy, the scheduler
    gives us our share of them.
    """
    seconds = max(now.clock - before.clock, 1e-9)

    def others(then: float | None, at_last: float | None) -> float:
        if then is None or at_last is None:
            return 0.0
        return max(0.0, (at_last - then - (now.own - before.own)) / seconds)

    busy, in_group = others(before.busy, now.busy), others(before.group, now.group)
    free = min(machine.limit, machine.cores - round(busy))
    if machine.quota is not None:
        free = min(free, int(machine.quota - round(in_group)))
    return max(1, machine.limit // 2, free), max(busy, in_group)


def shared_by(processes: int, machine: Machine) -> int:
    """Threads of each of several processes that compute at the same time."""
    return max(1, machine.limit // processes)


def waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say how threads wait; none where the environment says it already."""
    return {} if any(name in environment for name in _USERS_WAITING) else {_SPINS: _SPIN}


def users_choice(environment: Mapping[str, str]) -> str | None:
    """The variable by which a user has chosen a number of threads; None where none is set."""
    return next((name for name in _USERS_THREADS if environment.get(name)), None)


_begun: tuple[Machine, Counters] | None = None


def begin() -> None:
    """Called where a process of ours begins: says how threads shall wait, and begins to look what others do.

    It costs nothing and must come before torch is imported.
    """
    global _begun
    machine = Machine.here()
    if machine is not None:
        os.environ.update(waiting(os.environ))
        _begun = machine, Counters.now(machine)


def settle(*, processes: int = 1, before: int | None = None) -> str | None:
    """Called where the work of a process begins: chooses the number of threads, for torch and the processes to come.

    It depends on what other processes did since `begin`; another number may round otherwise.

    Args:
        processes: that share the machine for this work.
        before: the number that the work began with, which is kept where it can be.

    Returns:
        What was chosen and why, in a line. None in a process that is not ours (`begin` was not called), and when
        called again: then nothing is changed.
    """
    global _begun
    if _begun is None:
        return None
    (machine, then), _begun = _begun, None

    import torch

    if (variable := users_choice(os.environ)) is not None:
        return _line(torch.get_num_threads(), f"{variable}={os.environ[variable]}")
    if before is not None and before <= machine.limit:
        threads, why = before, "as this run began"
    elif processes > 1:
        threads, why = shared_by(processes, machine), f"for each of {processes} processes, {_of(machine)}"
    else:
        time.sleep(max(0.0, then.clock + _WINDOW - time.monotonic()))
        threads, busy = threads_beside_others(machine, then, Counters.now(machine))
        beside = f", {busy:.1f} of them busy with other processes" if round(busy) else ""
        why = _of(machine) + beside
    torch.set_num_threads(threads)
    os.environ[THREADS] = str(threads)
    return _line(threads, why)


def _of(machine: Machine) -> str:
    cores = f"{machine.cores} core{'s' * (machine.cores != 1)}"
    return cores if machine.quota is None else f"{cores} with a quota of {machine.quota:g}"


def _line(threads: int, why: str) -> str:
    policy = next((f"; waiting: {name}={os.environ[name]}" for name in _USERS_WAITING if name in os.environ), "")
    return f"{threads} thread{'s' * (threads != 1)} ({why}{policy if threads > 1 else ''})"


def _cores(cpus: frozenset[int], root: Path) -> int:
    def core(cpu: int) -> str:
        return _read(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or f"cpu{cpu}"

    return len({core(cpu) for cpu in cpus})


def _busy(cpus: frozenset[int], root: Path) -> float | None:
    ticks = found = 0
    for line in (_read(root / "proc/stat") or "").splitlines():
        name, *counts = line.split()
        if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in cpus:
            found += 1
            ticks += sum(int(count) for column, count in enumerate(counts[:_COLUMNS]) if column not in _IDLE)
    return ticks / os.sysconf("SC_CLK_TCK") if found else None


def _group(machine: Machine) -> float | None:
    if machine.group is None:
        return None
    file, parts = machine.group
    text = (_read(file) or "").split()
    with suppress(ValueError, IndexError):
        return float(text[text.index("usage_usec") + 1 if "usage_usec" in text else 0]) / parts
    return None


def _quotas(root: Path) -> Iterator[tuple[float, tuple[Path, float]]]:
    """Those of this process's control group and of all around it. In a container only the outermost may be visible."""
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            mounts = [root / "sys/fs/cgroup"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in dict.fromkeys((controllers, "cpu"))]
        else:
            continue
        for mount in mounts:
            inner = mount / path.lstrip("/")
            for folder in (inner, *inner.parents):
                if folder == mount.parent:
                    break
                if (found := _quota(folder)) is not None:
                    yield found


def _quota(folder: Path) -> tuple[float, tuple[Path, float]] | None:
    limit, usage = _read(folder / "cpu.max"), (folder / "cpu.stat", 1e6)
    if limit is None:
        limit = f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
        usage = folder / "cpuacct.usage", 1e9
    with suppress(ValueError, ZeroDivisionError):  # "max", and what no kernel writes
        quota, period = map(int, limit.split())
        return (quota / period, usage) if quota > 0 else None
    return None


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
