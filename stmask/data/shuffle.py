"""Endless reproducible shuffling without a stored permutation."""

from __future__ import annotations

_MASK = (1 << 64) - 1
_ROUNDS = 4


def _hash(value: int) -> int:
    """A well mixed 64-bit hash of a 64-bit number (the finaliser of SplitMix64)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def permuted(index: int, size: int, key: int) -> int:
    """The image of `index` in the permutation of 0..size - 1 that belongs to `key`: constant time, no memory.

    A Feistel network permutes the next even power of two; numbers that fall outside are sent through it again.
    """
    if not 0 <= index < size:
        raise IndexError(f"index {index} of {size}")
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1
    while True:
        left, right = index >> half, index & low
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_hash(key ^ _hash((turn << 32) | right)) & low)
        index = (left << half) | right
        if index < size:
            return index


def shuffled(position: int, size: int, seed: int) -> int:
    """Element number `position` of an endless stream of permutations of 0..size - 1, one after the other."""
    lap, index = divmod(position, size)
    return permuted(index, size, _hash(_hash(seed & _MASK) ^ lap))
