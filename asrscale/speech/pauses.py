"""Where a recording is quiet: pauses and silence, by its level alone.

The rule is that of trackers of the power envelope, as in Marzinzik and Kollmeier 2002, "Speech pause detection for
noise spectrum estimation by tracking power envelope dynamics": what counts is where a level lies between the lowest and
the highest ones around it, in dB, so that noise behind the speech moves the threshold; and where these lie close
together, as in music or noise alone, nothing can be said.

Shapes: T samples, L levels.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

Levels: TypeAlias = npt.NDArray[np.float64]

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

# Quiet is what is below halfway between the lowest and the highest level: good enough to cut in, but somebody far away
# may be speaking there. Silent is only what is near the lowest level, so far up in the range, in which no speech is
# missed that is 45 dB below the loudest; at least so far above it as noise moves by itself.
_SILENT_SHARE = 0.25
_LEAST_SILENT_DB = 6.0


@dataclass(frozen=True)
class Pause:
    """Quiet samples, from `start` to before `end`, and the longest silence among them.

    Attributes:
        start: Where the quiet begins.
        end: Where it ends.
        silence_start: Where the silence begins.
        silence_end: Where it ends; that is where it begins, at the quietest place, where nothing is silent.
    """

    start: int
    end: int
    silence_start: int
    silence_end: int

    @property
    def seconds(self) -> float:
        """How long it is quiet."""
        return (self.end - self.start) / SAMPLE_RATE_HZ


class Quiet(NamedTuple):
    """Where samples are quiet.

    Attributes:
        pauses: In their order.
        silent_db: What is below is silence.
    """

    pauses: list[Pause]
    silent_db: float


NO_QUIET = Quiet([], -np.inf)


def find_quiet(samples: Pcm, silent_db: float = -np.inf) -> Quiet:
    """Returns where (T,) samples, which should be seconds long, are quiet.

    Args:
        samples: The samples.
        silent_db: What is silence, and then all that is quiet, where no speech stands out: as it was in front of these.
    """
    levels_db = _levels_db(samples)
    quiet_db, silent_db = _thresholds_db(levels_db) or (silent_db, silent_db)
    runs = _runs(levels_db < quiet_db)
    pauses = [_pause(start, levels_db[start:end], silent_db) for start, end in runs]
    return Quiet([pause for pause in pauses if pause.seconds >= _LEAST_PAUSE_SECONDS], silent_db)


def _thresholds_db(levels_db: Levels) -> tuple[float, float] | None:
    """Returns below which of (L,) levels it is quiet, and below which silent; None where speech does not stand out."""
    if not len(levels_db):
        return None
    low_db, high_db = np.percentile(levels_db, (_LOW_PERCENTILE, _HIGH_PERCENTILE))
    low_db = max(low_db, high_db - _DEEPEST_DB)
    range_db = high_db - low_db
    if range_db < _LEAST_RANGE_DB:
        return None
    quiet_db = low_db + range_db / 2
    return quiet_db, min(quiet_db, low_db + max(_LEAST_SILENT_DB, range_db * _SILENT_SHARE))


def _pause(start: int, levels_db: Levels, silent_db: float) -> Pause:
    """Returns a pause of levels, of which `start` are in front of it."""
    quietest = int(levels_db.argmin())
    silences = _runs(levels_db < silent_db) or [(quietest, quietest)]
    silence_start, silence_end = max(silences, key=lambda silence: silence[1] - silence[0])
    levels = (start, start + len(levels_db), start + silence_start, start + silence_end)
    return Pause(*(level * LEVEL_SAMPLES for level in levels))


def _runs(is_one: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Returns where each run of true ones starts, and before which place it ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_one, [False]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _levels_db(samples: Pcm) -> Levels:
    """Returns (L,) the mean power around each 10 ms, in dB of one step of 16 bits; digital silence has 0."""
    whole = samples[: len(samples) // LEVEL_SAMPLES * LEVEL_SAMPLES].reshape(-1, LEVEL_SAMPLES)
    powers = np.square(whole.astype(np.float32)).mean(axis=1, dtype=np.float64)
    if len(powers) < _SMOOTHED_LEVELS:
        return np.empty(0)
    smooth = np.convolve(powers, np.full(_SMOOTHED_LEVELS, 1 / _SMOOTHED_LEVELS), mode="same")
    levels_db: Levels = 10 * np.log10(np.maximum(smooth, 1.0))
    return levels_db
