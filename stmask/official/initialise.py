"""A training that starts from other weights: the authors', YOLACT's or YOLACT++'s, or ours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from stmask.engine.checkpoint import card_of, is_ours, network_weights, read_file
from stmask.errors import CheckpointError
from stmask.models import STMask
from stmask.official.keys import to_ours
from stmask.official.loading import tensors_of


@dataclass(frozen=True, slots=True)
class InitReport:
    """Which tensors came from where.

    Attributes:
        taken: our names of the tensors that were taken.
        fresh: our names of those that keep their initial values (Xavier weights and zero biases, as the authors do),
            and why: the file lacks them, or has another shape.
        unused: the file's names of tensors that have no place in this network.
    """

    taken: Sequence[str]
    fresh: Mapping[str, str]
    unused: Sequence[str]

    def summary(self) -> str:
        """One line."""
        return f"{len(self.taken)} tensors taken, {len(self.fresh)} fresh, {len(self.unused)} of the file unused"

    def __str__(self) -> str:
        lines = [self.summary()]
        if self.fresh:
            lines += ["fresh", *(f"  {name}: {why}" for name, why in self.fresh.items())]
        for title, names in (("of the file, without a place here", self.unused), ("taken", self.taken)):
            if names:
                lines += [title, *(f"  {name}" for name in names)]
        return "\n".join(lines)


def initialise(model: STMask, path: str | os.PathLike[str]) -> InitReport:
    """Takes into a freshly built network every tensor of a file that it has a place of the same shape for.

    Raises:
        CheckpointError: the file is no checkpoint, or nothing in it fits.
    """
    content = read_file(path)
    if is_ours(content):
        card_of(content, source=os.fspath(path))
        tensors = network_weights(content)
        named: dict[str, str | None] = {name: name for name in tensors}
    else:
        tensors = tensors_of(content, source=os.fspath(path))
        named = {name: to_ours(name) for name in tensors}
    given = {ours: tensors[name] for name, ours in named.items() if ours}
    own = model.state_dict()
    taken = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
    if not any(own[name].is_floating_point() for name in taken):
        raise CheckpointError(
            f"nothing in {path} fits this network: it starts with {', '.join(list(tensors)[:3]) or 'nothing'}"
        )
    model.load_state_dict({**own, **taken})
    fresh = {name: _why(given.get(name), own[name]) for name in own if name not in taken}
    return InitReport(list(taken), fresh, [name for name, ours in named.items() if ours not in own])


def _why(given: Tensor | None, own: Tensor) -> str:
    if given is None:
        return "not in the file"
    return f"{tuple(given.shape)} in the file, {tuple(own.shape)} here"
