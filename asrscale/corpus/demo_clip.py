"""Makes one clip of the demo's corpus: a voice in a quiet room, as an mp3 of 48 kHz.

Shape legend: T samples.
"""

from pathlib import Path

import numpy as np
import soundfile
import soxr

from asrscale.corpus.demo_plan import Utterance
from asrscale.corpus.demo_voice import speak
from asrscale.speech.pcm import Waveform

CLIP_RATE_HZ = 48_000  # Common Voice's own


LOUD_SHARE = 0.01  # of the peak, -40 dB: what is quieter at either end is cut off


EDGE_SECONDS = 0.15  # of room before and after the speech


MAX_PEAK = 0.9  # of full scale: the mp3 encoder may overshoot


COMPRESSION_LEVEL = 0.5  # about 75 kbit/s


def record_clip(folder: Path, utterance: Utterance) -> float:
    """Writes the mp3 of an utterance below `folder`; returns its length in seconds.

    Raises:
        RuntimeError: espeak-ng fails.
    """
    voice, rate_hz = speak(
        utterance.text,
        voice=utterance.voice,
        words_per_minute=utterance.words_per_minute,
        pitch=utterance.pitch,
    )
    speech = _trim(soxr.resample(voice, rate_hz, CLIP_RATE_HZ))
    clip = _in_quiet_room(speech, utterance)

    path = folder / utterance.filename
    soundfile.write(path, clip, CLIP_RATE_HZ, format="MP3", compression_level=COMPRESSION_LEVEL)
    duration_seconds: float = soundfile.info(path).duration
    return duration_seconds


def _trim(speech: Waveform) -> Waveform:
    """Returns speech (T,) with EDGE_SECONDS of silence at both ends in place of its own."""
    magnitude = np.abs(speech)
    loud = np.flatnonzero(magnitude > LOUD_SHARE * magnitude.max())
    return np.pad(speech[loud[0] : loud[-1] + 1], round(EDGE_SECONDS * CLIP_RATE_HZ))


def _in_quiet_room(speech: Waveform, utterance: Utterance) -> Waveform:
    """Returns speech (T,) at the utterance's level, with the noise of its room."""
    speech = speech / np.sqrt(np.mean(np.square(speech)))
    noise = np.random.default_rng(utterance.noise_seed).standard_normal(speech.size, dtype=np.float32)
    noisy = speech + noise * 10 ** (-utterance.snr_db / 20)
    wanted_gain = 10 ** (utterance.level_dbfs / 20)
    largest_gain = MAX_PEAK / np.abs(noisy).max()
    louder: Waveform = noisy * min(wanted_gain, largest_gain)
    return louder
