"""Utterance numbers, and hashes of them that are the same on every machine."""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a well mixed 64-bit hash of each value."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def hash_keys(count: int, *salts: int) -> NDArray[np.uint64]:
    """(count,) hashes of 0 … count-1, another set for other salts."""
    state = np.zeros(1, np.uint64)
    for salt in salts:
        state = splitmix64(state ^ np.uint64(salt & 0xFFFF_FFFF_FFFF_FFFF))
    return splitmix64(np.arange(count, dtype=np.uint64) ^ state)
