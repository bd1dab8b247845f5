"""Utterance numbers, and hashes and orders of them that are the same on every machine."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

NO_IDS: Final[Ids] = np.zeros(0, np.int64)

_MASK_64_BITS = 0xFFFF_FFFF_FFFF_FFFF
_INCREMENT = 0x9E3779B97F4A7C15
_FIRST_FACTOR = 0xBF58476D1CE4E5B9
_SECOND_FACTOR = 0x94D049BB133111EB


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns a well mixed 64-bit hash of each value: the output of SplitMix64 for that state.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", with its constants.
    """
    mixed = values + np.uint64(_INCREMENT)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_FIRST_FACTOR)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_SECOND_FACTOR)
    return mixed ^ (mixed >> np.uint64(31))


def _mix(value: int) -> int:
    """Returns what `splitmix64` does, of one value below 2^64: numpy takes several times as long for so little."""
    mixed = (value + _INCREMENT) & _MASK_64_BITS
    mixed = (mixed ^ (mixed >> 30)) * _FIRST_FACTOR & _MASK_64_BITS
    mixed = (mixed ^ (mixed >> 27)) * _SECOND_FACTOR & _MASK_64_BITS
    return mixed ^ (mixed >> 31)


def hash_keys(count: int, *salts: int) -> NDArray[np.uint64]:
    """Returns (count,) hashes of the numbers 0 … count-1; other salts give other hashes.

    Args:
        count: How many numbers to hash.
        salts: Integers of any size and sign, of which the low 64 bits count; their order matters.
    """
    state = 0
    for salt in salts:
        state = _mix(state ^ (int(salt) & _MASK_64_BITS))
    return splitmix64(np.arange(count, dtype=np.uint64) ^ np.uint64(state))


def stable_argsort(values: Ids) -> Ids:
    """Returns what numpy's stable argsort does, several times as fast; for values below 2^63 divided by their number.

    The position of each value in its low bits makes it unique, so that a plain sort does.
    """
    count = len(values)
    low_bits = count.bit_length()
    low_mask = (1 << low_bits) - 1
    return np.sort(values << low_bits | np.arange(count)) & low_mask
