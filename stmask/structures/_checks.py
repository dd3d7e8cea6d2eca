"""Shared checks of the records: done once, when a record is made."""

from __future__ import annotations

from torch import Tensor


def require_shape(name: str, tensor: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raises ValueError unless `tensor` has the given shape; None matches any length."""
    if tensor.ndim != len(shape) or any(want is not None and got != want for got, want in zip(tensor.shape, shape)):
        wanted = "(" + ", ".join("*" if n is None else str(n) for n in shape) + ")"
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(tensor.shape)}")
