"""The processes of a run: which of them this is, and what becomes of it when another one ends."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins.environments import (  # type: ignore[attr-defined]
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from stmask.data.loaders import no_shared_memory
from stmask.engine.rendezvous import met
from stmask.errors import ConfigError, Interrupted, StmaskError
from stmask.runs.folder import RunFolder

STARTERS: tuple[type[ClusterEnvironment], ...] = (
    TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment
)  # fmt: skip
_GO_ON = "; to go on from the last checkpoint: resume=auto"
_USER_ERROR = 2
_POLL = 0.2  # seconds
_PATIENCE = 10.0  # seconds; so long a process has to end by itself when another one is lost
_LOST_CONNECTION = re.compile(
    r"connection (closed|reset) by peer|broken pipe|socket closed|gloo/transport|remote process exited|ncclRemoteError"
    r"|ncclSystemError|TCPStore|failed to recv|connection was likely closed",
    re.I,
)
_LOADER = re.compile(r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (is killed by signal: ([\w ]+)|exited unexpectedly)")


class OtherProcessEnded(StmaskError):
    """A run ended because another one of its processes did."""


def is_first_process(trainer: DictConfig) -> bool:
    """Whether this process speaks for its run: the only one, or that of rank 0.

    What Lightning would take for the rank counts, and only in a run of several processes: a RANK that a shell was
    left with says nothing.

    Args:
        trainer: the configuration's part of that name.

    Raises:
        ConfigError: the environment contradicts itself, so that the processes would wait for each other for ever.
    """
    nodes, here = int(trainer.get("num_nodes", 1)), _on_this_machine(trainer)
    if TorchElasticEnvironment.detect() and here is not None:
        started, wanted = TorchElasticEnvironment().world_size(), nodes * here
        if started != wanted:
            raise ConfigError(
                f"torchrun started {started} processes, trainer.devices={here} and trainer.num_nodes={nodes} ask for "
                f"{wanted}: give the same number to both"
            )
    if nodes == 1 and here == 1:
        return True
    for starter in STARTERS:
        if starter.detect():
            return starter().global_rank() == 0
    return _is_first_of_lightning(nodes)


def _is_first_of_lightning(nodes: int) -> bool:
    environment = LightningEnvironment()
    node = environment.node_rank()
    if environment.creates_processes_externally and "MASTER_PORT" not in os.environ:
        raise ConfigError(
            f"LOCAL_RANK={environment.local_rank()} is in the environment but not MASTER_PORT, by which the processes "
            "of a run find each other: unset LOCAL_RANK, and they are started from here"
        )
    if nodes == 1 and node != 0:
        name = "NODE_RANK" if "NODE_RANK" in os.environ else "GROUP_RANK"
        raise ConfigError(f"{name}={node} is in the environment, but trainer.num_nodes=1: unset {name}")
    return node == 0 and environment.local_rank() == 0


def _on_this_machine(trainer: DictConfig) -> int | None:
    """The processes that a run has here; None where that is left to the machine."""
    devices = trainer.get("devices", 1)
    if OmegaConf.is_list(devices):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([number for number in devices.split(",") if number.strip()])
    if str(devices).isdigit():
        return int(devices)
    accelerator = trainer.get("accelerator", "auto")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    return 1 if on_cpu and devices in ("auto", None) else None


class Processes:
    """The processes of a run that this one starts on its machine, and the end of them all where it hangs.

    Lightning would start them as well, and kill all at once when one of them ends badly. Here this process ends by
    itself, with one line, and is ended from a thread only when it hangs.

    Args:
        folder: of the run, to note how it ended.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._of = 1
        self._over = threading.Event()

    @contextmanager
    def running(self, trainer: pl.Trainer) -> Iterator[None]:
        """Starts the others for the length of the block, where nothing else has; Lightning finds them started."""
        environment = getattr(trainer.strategy, "cluster_environment", None)
        with met(environment, nodes=trainer.num_nodes, rank=trainer.global_rank), self._others(trainer, environment):
            yield

    @contextmanager
    def _others(self, trainer: pl.Trainer, environment: ClusterEnvironment | None) -> Iterator[None]:
        if environment is None or environment.creates_processes_externally or trainer.num_devices == 1:
            yield
            return
        self._of = trainer.num_devices * trainer.num_nodes
        rendezvous = {
            "MASTER_ADDR": environment.main_address,
            "MASTER_PORT": str(environment.main_port),
            "NODE_RANK": str(environment.node_rank()),
            "WORLD_SIZE": str(self._of),
            "LOCAL_RANK": "0",
        }
        before = {name: os.environ.get(name) for name in rendezvous}
        os.environ.update(rendezvous)
        try:
            for rank in range(1, trainer.num_devices):
                self._started.append(_start(rank))
            threading.Thread(target=self._watch, daemon=True, name="stmask-processes").start()
            yield
        except Exception:
            self._end_others(within=_PATIENCE)
            raise
        except (SystemExit, KeyboardInterrupt) as error:
            if not isinstance(error, Interrupted):  # of which all know; this is Lightning's way out after Ctrl-C
                self._end_others(within=0.0)
            raise
        finally:
            self._over.set()
            for name, value in before.items():
                os.environ.pop(name, None)
                os.environ.update({} if value is None else {name: value})

    def ended(self, *, within: float = 0.0) -> str | None:
        """Which other process of this machine ended badly, in words; None where all are well.

        Args:
            within: seconds to wait for one to end.
        """
        until = time.monotonic() + within
        while True:
            for number, process in enumerate(self._started, start=2):
                if process.poll():
                    return f"process {number} of {self._of} {exit_in_words(process.returncode)}"
            if time.monotonic() >= until or all(process.poll() is not None for process in self._started):
                return None
            time.sleep(_POLL)

    def interrupt(self, status: int) -> NoReturn:
        """Ends all from a thread, when told to stop. Only the first's exit status says that the run is not finished."""
        self._folder.end("interrupted")
        self._end("interrupted", status if self._folder.first else 0)

    def fail(self, error: str) -> NoReturn:
        """Ends all from a thread, with an error."""
        self._folder.end("failed", error=error)
        self._end(f"error: {error}", _USER_ERROR)

    def _end(self, text: str, status: int) -> NoReturn:
        if self._folder.first:
            print(f"stmask: {text}", file=sys.stderr, flush=True)
        for started in self._started:
            started.kill()
        for worker in multiprocessing.active_children():
            worker.kill()
        os._exit(status)

    def _end_others(self, *, within: float) -> None:
        """They find the connection closed and end; one that hangs does not outlive this process."""
        until = time.monotonic() + within
        for process in self._started:
            try:
                process.wait(timeout=max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

    def _watch(self) -> None:
        while not self._over.wait(_POLL * 5):
            if (lost := self.ended()) is not None:
                if not self._over.wait(_PATIENCE):
                    self.fail(lost + _GO_ON)
                return
            if all(process.returncode == 0 for process in self._started):
                return


def sharing_cores(trainer: pl.Trainer) -> int:
    """The processes of a run that share the cores which this one may use: SLURM can give each task its own."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    started_elsewhere = environment is not None and environment.creates_processes_externally
    return 1 if started_elsewhere and "SLURM_CPUS_PER_TASK" in os.environ else trainer.num_devices


def _start(local_rank: int) -> subprocess.Popen[bytes]:
    command, folder = _command(local_rank)
    return subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(local_rank)}, cwd=folder)


def _command(local_rank: int) -> tuple[list[str], str | None]:
    """This process's command again, for another process of the run, and the folder that it was given in."""
    main = sys.modules["__main__"].__spec__
    command = [sys.executable, *(["-m", main.name] if main else [os.path.abspath(sys.argv[0])]), *sys.argv[1:]]
    if not HydraConfig.initialized():
        return command, None
    hydra = HydraConfig.get()
    same_folder = [f'hydra.run.dir="{hydra.run.dir}"', "hydra.output_subdir=null"]
    return [*command, *same_folder, f"hydra.job.name=train_ddp_process_{local_rank}"], str(hydra.runtime.cwd)


def in_words(error: BaseException, trainer: pl.Trainer, processes: Processes) -> StmaskError | None:
    """What torch says of a process that ended, in one line; None where the error is another one."""
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    if found := _LOADER.search(text):
        return _loader_ended(found[2])
    if trainer.world_size > 1 and _LOST_CONNECTION.search(text):
        lost = processes.ended(within=5.0)
        this = f"process {trainer.global_rank + 1} of {trainer.world_size}"
        return OtherProcessEnded(f"{lost or f'another process of the run ended, and {this} with it'}{_GO_ON}")
    return None


def _loader_ended(name: str | None) -> StmaskError:
    if name == "Bus error":
        return no_shared_memory()
    why = {"Killed": ": most often, the machine is out of memory, which fewer workers need less of"}.get(name or "", "")
    how = f"was killed by a signal ({name})" if name else "ended"
    return OtherProcessEnded(
        f"a process that loads data {how}{why}; data.num_workers=0 loads in the run's own process, and shows "
        f"what goes wrong{_GO_ON}"
    )


def exit_in_words(status: int) -> str:
    """How a process ended that should not have."""
    if status > 0:
        return f"ended with exit status {status} (its own words stand above)"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
