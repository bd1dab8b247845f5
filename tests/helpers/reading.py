"""Utterances read as training reads them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from asrscale.data.index import Index
from asrscale.data.loader import Damaged, read_utterances


def read(index: Index, *utterances: int) -> tuple[dict[int, np.ndarray], tuple[Damaged, ...]]:
    with ThreadPoolExecutor(2) as pool:
        return read_utterances(index, np.array(utterances or range(len(index))), pool)


def assert_same(index: Index, expected: Index) -> None:
    (waveforms, damaged), (others, _) = read(index), read(expected)
    assert not damaged and waveforms.keys() == others.keys()
    assert all(np.array_equal(waveforms[number], others[number]) for number in waveforms)
