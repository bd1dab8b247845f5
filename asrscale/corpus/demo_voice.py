"""Text to speech by espeak-ng, through its C interface. The only module that uses ctypes and espeakng_loader.

The constants are those of espeak-ng's speak_lib.h.

Shape legend: T samples.
"""

import ctypes
from functools import cache

import numpy as np

from asrscale.speech.pcm import Waveform

_AUDIO_OUTPUT_SYNCHRONOUS = 2  # calls back from within espeak_Synth, ten times faster than from a thread of its own


_INITIALIZE_DONT_EXIT = 0x8000  # where its data is missing, it returns an error


_RATE_PARAMETER = 1


_PITCH_PARAMETER = 3


_POSITION_CHARACTER = 1


_CHARACTERS_UTF8 = 1


_GO_ON = 0  # what the callback returns to be called again


@cache  # espeak-ng has one state in each process
def _start_espeak() -> tuple[ctypes.CDLL, int]:
    """Starts espeak-ng; returns its library and its sample rate in Hz."""
    import espeakng_loader  # an optional extra

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data_path = espeakng_loader.get_data_path().encode()
    buffer_milliseconds = 0  # its own default
    rate_hz = library.espeak_Initialize(
        _AUDIO_OUTPUT_SYNCHRONOUS, buffer_milliseconds, data_path, _INITIALIZE_DONT_EXIT
    )
    return library, rate_hz


def speak(text: str, *, voice: str, words_per_minute: int, pitch: int) -> tuple[Waveform, int]:
    """Speaks a text.

    Args:
        text: What to speak.
        voice: espeak-ng's language+variant. It is an error if it has no such language, but not if it has no such
            variant.
        words_per_minute: espeak-ng's default is 175.
        pitch: 0 to 100, where 50 is the voice's own.

    Returns:
        Samples (T,) of 16-bit size as float32, and their rate in Hz.

    Raises:
        RuntimeError: espeak-ng fails, or returns no sound.
    """
    library, rate_hz = _start_espeak()
    pieces: list[bytes] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)  # type: ignore[untyped-decorator]
    def collect(samples: int | None, num_samples: int, _events: int | None) -> int:
        pieces.append(ctypes.string_at(samples, 2 * num_samples) if samples else b"")
        return _GO_ON

    library.espeak_SetSynthCallback(collect)
    error_code = (
        library.espeak_SetVoiceByName(voice.encode())
        or library.espeak_SetParameter(_RATE_PARAMETER, words_per_minute, 0)
        or library.espeak_SetParameter(_PITCH_PARAMETER, pitch, 0)
        or _synthesize(library, text)
        or library.espeak_Synchronize()
    )
    if error_code or not any(pieces):
        raise RuntimeError(f"espeak-ng cannot speak '{text}' as {voice} (error {error_code})")
    return np.frombuffer(b"".join(pieces), np.int16).astype(np.float32), rate_hz


def _synthesize(library: ctypes.CDLL, text: str) -> int:
    """Has espeak-ng speak all of a text into the callback; returns its error code, 0 for none."""
    content = text.encode() + b"\0"
    start_position = 0
    end_position = 0  # to the end of the text
    error_code: int = library.espeak_Synth(
        content,
        ctypes.c_size_t(len(content)),
        start_position,
        _POSITION_CHARACTER,
        end_position,
        _CHARACTERS_UTF8,
        None,  # where to write an identifier of this text
        None,  # data for the callback
    )
    return error_code
