"""Where a recording is quiet: pauses, by its level alone.

The rule is that of trackers of the power envelope, as in Marzinzik and Kollmeier 2002, "Speech pause detection for
noise spectrum estimation by tracking power envelope dynamics": what counts is where a level lies between the lowest and
the highest ones around it, in dB, so that noise behind the speech moves the threshold; and where these lie close
together, as in music or noise alone, nothing can be said.

Shapes: T samples, L levels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

LEVEL_SAMPLES = SAMPLE_RATE_HZ // 100  # a level each 10 ms
_SMOOTHED_LEVELS = 3

# The lowest and the highest level are percentiles, which a click or a gap of digital silence does not move.
_LOW_PERCENTILE, _HIGH_PERCENTILE = 2, 95

# Lower levels than so far below the highest count as so far below: halfway then is 30 dB below, about the 3 % of the
# peak that Rabiner and Sambur 1975 take, "An algorithm for determining the endpoints of isolated utterances".
_DEEPEST_DB = 60.0

# Between the lowest and the highest level; louder noise hides pauses. Measured: docs/experiments/evaluation.md.
_LEAST_RANGE_DB = 10.0

# Shorter ones are within words: the closure of a stop, as in "six".
_LEAST_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Pause:
    """Quiet samples, from `start` to before `end`."""

    start: int
    end: int

    @property
    def middle(self) -> int:
        """The sample in its middle."""
        return (self.start + self.end) // 2

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end - self.start) / SAMPLE_RATE_HZ


def find_pauses(samples: Pcm) -> list[Pause]:
    """Returns the pauses of (T,) samples, which should be seconds long; none where speech does not stand out."""
    levels_db = _levels_db(samples)
    if not len(levels_db):
        return []
    low_db, high_db = np.percentile(levels_db, (_LOW_PERCENTILE, _HIGH_PERCENTILE))
    low_db = max(low_db, high_db - _DEEPEST_DB)
    if high_db - low_db < _LEAST_RANGE_DB:
        return []
    is_quiet = levels_db < (low_db + high_db) / 2
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_quiet, [False]])))
    runs = [Pause(int(start) * LEVEL_SAMPLES, int(end) * LEVEL_SAMPLES) for start, end in edges.reshape(-1, 2)]
    return [run for run in runs if run.seconds >= _LEAST_PAUSE_SECONDS]


def _levels_db(samples: Pcm) -> npt.NDArray[np.float64]:
    """Returns (L,) the mean power around each 10 ms, in dB of one step of 16 bits; digital silence has 0."""
    whole = samples[: len(samples) // LEVEL_SAMPLES * LEVEL_SAMPLES].reshape(-1, LEVEL_SAMPLES)
    powers = np.square(whole.astype(np.float32)).mean(axis=1, dtype=np.float64)
    if len(powers) < _SMOOTHED_LEVELS:
        return np.empty(0)
    smooth = np.convolve(powers, np.full(_SMOOTHED_LEVELS, 1 / _SMOOTHED_LEVELS), mode="same")
    levels_db: npt.NDArray[np.float64] = 10 * np.log10(np.maximum(smooth, 1.0))
    return levels_db
