"""A sample of a corpus of so many hours."""

import numpy as np
from numpy.typing import NDArray

from asrscale.data.hashing import hash_keys


def choose_hours(seconds: NDArray[np.float64], hours: float, seed: int) -> NDArray[np.bool_]:
    """(N,) which clips of these lengths to take for so many hours, spread over all lengths; more hours only add clips.

    Sorted by length, clips are taken in the order of a van der Corput sequence, which fills any range evenly.
    """
    count = len(seconds)
    by_length = np.lexsort((hash_keys(count, seed), seconds))
    ranks = np.arange(count) ^ int(hash_keys(1, seed)[0]) % (1 << count.bit_length())
    turns = [int(f"{rank:064b}"[::-1], 2) for rank in ranks.tolist()]
    taken = by_length[np.argsort(turns)]
    return np.isin(np.arange(count), taken[np.cumsum(seconds[taken]) <= hours * 3600])
