"""Chooses a sample of a corpus that has a given number of hours.

Shape legend: N clips.
"""

import numpy as np
from numpy.typing import NDArray

from asrscale.data.hashing import hash_keys


def choose_hours(seconds: NDArray[np.float64], hours: float, seed: int) -> NDArray[np.bool_]:
    """Returns (N,) which clips to take for a number of hours, spread over all lengths; more hours only add clips.

    Sorted by length, clips are taken in the order of a van der Corput sequence, which fills any range evenly: the next
    clip to take is the one whose place, its bits reversed, is the smallest.

    Args:
        seconds: (N,) lengths of the clips.
        hours: How many to take at most.
        seed: Decides which of the clips of a length come first, and where the sequence starts.
    """
    num_clips = len(seconds)
    by_length = np.lexsort((hash_keys(num_clips, seed), seconds))  # equal lengths in an order of their own hashes

    # To flip the same bits of all places leaves the sequence as even as it was, and starts it elsewhere for each seed.
    num_bits = num_clips.bit_length()
    flipped_bits = int(hash_keys(1, seed)[0]) % (1 << num_bits)
    places = np.arange(num_clips) ^ flipped_bits
    turns = [_reverse_bits(place) for place in places.tolist()]

    in_turn = by_length[np.argsort(turns)]
    fits = np.cumsum(seconds[in_turn]) <= hours * 3600
    return np.isin(np.arange(num_clips), in_turn[fits])


def _reverse_bits(number: int) -> int:
    """Returns a number below 2^64 with its 64 bits in the opposite order."""
    return int(f"{number:064b}"[::-1], 2)
