"""Samples at other rates and speeds."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from asrscale.speech import pcm


def test_speed_changes_alike_in_every_thread() -> None:
    """Of these lengths, soxr gets the end of some wrong if it resamples 16-bit samples: it reads unwritten memory."""
    lengths = [*range(43_250, 43_550, 2), *range(52_800, 52_950)]
    tenths = [9] * 150 + [11] * 150
    rng = np.random.default_rng(0)
    waveforms = [rng.integers(-20_000, 20_000, length).astype(np.int16) for length in lengths]
    one_by_one = list(map(pcm.change_speed, waveforms, tenths))
    with ThreadPoolExecutor(2) as threads:
        two_at_a_time = list(threads.map(pcm.change_speed, waveforms, tenths))
    pairs = zip(lengths, one_by_one, two_at_a_time, strict=True)
    assert [length for length, expected, found in pairs if not np.array_equal(expected, found)] == []
