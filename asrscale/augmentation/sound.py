"""What is done to the samples of an utterance: as many come out as go in, at the same place in time.

Shape legend: T samples of an utterance, R of an impulse response, M of a filter; float32 in [-1, 1] at 16 kHz.
"""

from functools import lru_cache

import numpy as np

from asrscale.common.errors import AudioError
from asrscale.speech.pcm import Waveform, resample, resample_to

# A telephone line: 300 to 3,400 Hz at 8 kHz (ITU-T G.712). What lies this far beyond is 60 dB below.
TELEPHONE_RATE_HZ = 8_000
TELEPHONE_BAND_HZ = (300, 3_400)
_TRANSITION_HZ = 150
_STOP_DB = 60.0


def reverberate(waveform: Waveform, impulse_response: Waveform) -> Waveform:
    """Returns an utterance (T,) as a room sounds it, by the room's impulse response (R,).

    The direct path, which is taken to be the largest sample, moves nothing in time, and the power stays: Ko et al.
    2017, "A study on data augmentation of reverberant speech for robust speech recognition", and Kaldi's
    wav-reverberate with --shift-output and --normalize-output. What rings on behind the end is cut off.

    Raises:
        AudioError: The impulse response is silent, or not finite.
    """
    check_audible(impulse_response)
    direct_path = int(np.abs(impulse_response).argmax())
    wet = _convolve(waveform, impulse_response)[direct_path : direct_path + len(waveform)]
    wet_power = power(wet)
    if wet_power == 0:  # so was the utterance
        return waveform
    return within_range(wet * np.float32(np.sqrt(power(waveform) / wet_power)))


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Returns an utterance (T,) with noise (T,) added, `snr_db` below it; both powers are means over all samples.

    Raises:
        AudioError: One of the two is silent, so that there is no such ratio, or the noise is not finite.
    """
    check_audible(noise)
    speech_power = power(waveform)
    if speech_power == 0:
        raise AudioError("silent: the utterance has no level that noise could be compared with")
    factor = np.sqrt(speech_power / power(noise)) * 10 ** (-snr_db / 20)
    return within_range(waveform + noise * np.float32(factor))


def change_gain(waveform: Waveform, gain_db: float) -> Waveform:
    """Returns an utterance (T,) louder or quieter; what leaves the range of 16 bits is cut off, as in a recorder."""
    louder: Waveform = waveform * np.float32(10 ** (gain_db / 20))
    return louder.clip(-1, 1)


def clip_peaks(waveform: Waveform, drive_db: float) -> Waveform:
    """Returns an utterance (T,) amplified by `drive_db`, of which what exceeds its old peak is cut off."""
    peak = np.abs(waveform).max(initial=0)
    louder: Waveform = waveform * np.float32(10 ** (drive_db / 20))
    return louder.clip(-peak, peak)


def telephone_band(waveform: Waveform) -> Waveform:
    """Returns an utterance (T,) as an analogue line and sampling at 8 kHz leave it."""
    narrow = to_telephone_rate(waveform)
    taps = _telephone_filter()
    delay = len(taps) // 2
    filtered = _convolve(narrow, taps)[delay : delay + len(narrow)]
    return within_range(fit_length(resample(filtered, TELEPHONE_RATE_HZ), len(waveform)))


def to_telephone_rate(waveform: Waveform) -> Waveform:
    """Returns an utterance (T,) at 8 kHz: exactly half as many samples, rounded up."""
    return fit_length(resample_to(waveform, TELEPHONE_RATE_HZ), (len(waveform) + 1) // 2)


def fit_length(waveform: Waveform, length: int) -> Waveform:
    """Returns the first samples of a waveform, with zeros behind them where there are fewer than `length`."""
    return np.pad(waveform[:length], (0, max(0, length - len(waveform))))


def within_range(waveform: Waveform) -> Waveform:
    """Returns a waveform (T,) quieter, if it exceeds 16 bits: what is loud for other reasons is not clipped, too."""
    peak = np.abs(waveform).max(initial=0)
    return waveform / peak if peak > 1 else waveform


def power(waveform: Waveform) -> float:
    """Returns the mean square of the samples."""
    return float(np.mean(np.square(waveform, dtype=np.float64)))


def check_audible(sound: Waveform) -> None:
    """Raises AudioError where a noise or an impulse response is silent or not finite."""
    found = power(sound)
    if not np.isfinite(found):
        raise AudioError("non-finite: holds NaN or infinite samples")
    if found == 0:
        raise AudioError("silent: all its samples are zero")


def _convolve(waveform: Waveform, taps: Waveform) -> Waveform:
    """Returns the convolution, all T + M - 1 samples of it, by the Fourier transform."""
    length = len(waveform) + len(taps) - 1
    fft_length = 1 << (length - 1).bit_length()  # fast
    spectrum = np.fft.rfft(waveform, fft_length) * np.fft.rfft(taps, fft_length)
    convolved: Waveform = np.fft.irfft(spectrum, fft_length)[:length].astype(np.float32)
    return convolved


@lru_cache(maxsize=1)
def _telephone_filter() -> Waveform:
    """Returns the taps (M,) at 8 kHz of a band-pass filter of linear phase, M odd.

    The difference of two low-passes, windowed by Kaiser's window: Oppenheim and Schafer, "Discrete-Time Signal
    Processing", equations 7.75 and 7.76.
    """
    transition = 2 * np.pi * _TRANSITION_HZ / TELEPHONE_RATE_HZ
    beta = 0.1102 * (_STOP_DB - 8.7)
    half = int(np.ceil((_STOP_DB - 8) / (2.285 * transition) / 2))
    places = np.arange(-half, half + 1)
    low_hz, high_hz = TELEPHONE_BAND_HZ

    def low_pass(edge_hz: float) -> Waveform:
        share = 2 * edge_hz / TELEPHONE_RATE_HZ
        taps: Waveform = share * np.sinc(share * places)
        return taps

    # The edges lie in the middle of the transitions, beyond the band.
    band = low_pass(high_hz + _TRANSITION_HZ / 2) - low_pass(low_hz - _TRANSITION_HZ / 2)
    taps: Waveform = (band * np.kaiser(len(places), beta)).astype(np.float32)
    return taps
