"""How the processes of a run on several machines find each other: who waits says for whom, and not for ever."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from pytorch_lightning.plugins.environments import (  # type: ignore[attr-defined]
    ClusterEnvironment,
    TorchElasticEnvironment,
)
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from stmask.errors import StmaskError

_POLL = 0.2  # seconds
_FIRST_WITHIN = 120.0  # seconds that the first process is waited for
_OTHERS_WITHIN = 1800.0  # seconds that it waits for the others; machines of a queue may start minutes apart
_SAY_EVERY = 60.0  # seconds
_KEY = "stmask/node/"
_OTHER_ADDRESS = "MASTER_ADDR and MASTER_PORT choose another address"
_log = logging.getLogger(__name__)


@contextmanager
def met(environment: ClusterEnvironment | None, *, nodes: int, rank: int) -> Iterator[None]:
    """Waits until all machines of a run are there; PyTorch would wait for half an hour, without a word.

    Args:
        environment: Lightning's, of this process.
        nodes: machines of the run.
        rank: of this process.

    Raises:
        StmaskError: the first process does not listen, or a machine does not come.
    """
    if environment is None or nodes == 1:
        yield
        return
    address, port, node = environment.main_address, environment.main_port, environment.node_rank()
    meets = environment.local_rank() == 0 and not isinstance(environment, TorchElasticEnvironment)  # torchrun has met
    store = None
    if node > 0:
        reach_first_process(address, port, rank=rank)
        if meets:
            arrive(address, port, node=node)
    elif meets:
        store = wait_for_nodes(address, port, nodes=nodes)
    yield
    del store  # PyTorch's own store shares its port


def reach_first_process(address: str, port: int, *, rank: int, within: float = _FIRST_WITHIN) -> None:
    """Waits until the first process of a run listens.

    Args:
        address, port: of the first process.
        rank: of this one.
        within: seconds.

    Raises:
        StmaskError: it does not, which names the address.
    """
    until = time.monotonic() + within
    while True:
        try:
            socket.create_connection((address, port), timeout=max(0.1, min(5.0, within))).close()
            return
        except OSError as error:
            if time.monotonic() >= until:
                raise StmaskError(
                    f"process {rank} does not reach the first one at {address}:{port} ({error.strerror or error}), "
                    f"tried for {within:.0f} s: is it running, does {socket.gethostname()} know that name, and is the "
                    f"port open between them? {_OTHER_ADDRESS}"
                ) from error
        time.sleep(_POLL)


def arrive(address: str, port: int, *, node: int) -> None:
    """Tells the first process, which listens, that this machine is there."""
    store = TCPStore(address, port, wait_for_workers=False, timeout=timedelta(seconds=_FIRST_WITHIN))
    store.set(f"{_KEY}{node}", socket.gethostname())


def wait_for_nodes(
    address: str, port: int, *, nodes: int, every: float = _SAY_EVERY, within: float = _OTHERS_WITHIN
) -> TCPStore:
    """Listens as the first process of a run until all machines have arrived; says again and again which have not.

    Args:
        address, port: of this process.
        nodes: machines, this one is number 0.
        every: seconds between two lines.
        within: seconds.

    Returns:
        What listens. PyTorch's own finds it at that port, as long as it is kept.

    Raises:
        StmaskError: it can't listen there, or machines did not arrive.
    """
    place = f"{address}:{port}"
    try:
        timeout = timedelta(seconds=_FIRST_WITHIN)
        store = TCPStore(address, port, is_master=True, wait_for_workers=False, multi_tenant=True, timeout=timeout)
    except (RuntimeError, OSError) as error:
        raise StmaskError(
            f"process 0 can't listen at {place} ({str(error).splitlines()[0]}): is that this machine, and the port "
            f"free? {_OTHER_ADDRESS}"
        ) from error
    began = said = time.monotonic()
    while missing := [node for node in range(1, nodes) if not store.check([f"{_KEY}{node}"])]:
        now = time.monotonic()
        names = f"node {missing[0]}" if len(missing) == 1 else f"nodes {', '.join(map(str, missing))}"
        if now - began >= within:
            raise StmaskError(
                f"{names} of the run's {nodes} did not come to {place} within {within / 60:.0f} minutes: were they "
                "started, with the same address? Nodes count from 0"
            )
        if now - said >= every:
            said = now
            _log.warning("waiting for %s of %d (from 0) at %s, for %.0f s so far", names, nodes, place, now - began)
        time.sleep(_POLL)
    return store
