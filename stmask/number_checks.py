"""Checks of the numbers that constructors receive."""

from __future__ import annotations

import math
from typing import Any


def require_integer(minimum: int = 1, **values: int) -> None:
    """Raises ValueError naming the first value that is not an integer of at least `minimum`."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")


def require_number(*, low: float = 0.0, high: float = math.inf, open_low: bool = False, **values: float) -> None:
    """Raises ValueError naming the first value that is not a finite number within low to high.

    Args:
        open_low: `low` itself is out of range.
    """
    for name, value in values.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high or (open_low and value == low):
            least = f"{'above' if open_low else 'of at least'} {low:g}"
            most = "" if high == math.inf else f" and at most {high:g}"
            raise ValueError(f"{name} must be a finite number {least}{most}, got {value!r}")


def require_weights(**weights: Any) -> None:
    """Raises ValueError naming the first that is negative or not a finite number, or all if none is above 0."""
    require_number(**weights)
    if not any(weights.values()):
        raise ValueError(f"at least one of {', '.join(weights)} must be above 0")
