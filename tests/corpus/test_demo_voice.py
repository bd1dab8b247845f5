"""Text to speech by espeak-ng."""

from pathlib import Path

import numpy as np
import pytest
from helpers.demo import needs_espeak

from asrscale.corpus.demo_plan import plan_corpus
from asrscale.corpus.demo_voice import speak


@needs_espeak
def test_every_voice_is_one_that_espeak_has() -> None:
    # espeak-ng falls back without a word on an unknown variant, so the files are looked at.
    import espeakng_loader

    variants = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    voices = {utterance.voice for utterance in plan_corpus(42, 40)}
    assert len(voices) == 20
    assert [voice for voice in voices if not (variants / voice.split("+")[1]).is_file()] == []


@needs_espeak
def test_an_unknown_voice_is_an_error_not_another_voice() -> None:
    with pytest.raises(RuntimeError, match=r"cannot speak 'hello' as en-gb"):
        speak("hello", voice="en-gb", words_per_minute=175, pitch=50)


@needs_espeak
def test_speech_has_the_size_of_16_bit_samples_and_is_shorter_when_it_is_faster() -> None:
    slow, rate_hz = speak("call anna before nine on monday", voice="en+m1", words_per_minute=155, pitch=50)
    fast, _ = speak("call anna before nine on monday", voice="en+m1", words_per_minute=205, pitch=50)
    assert 1_000 < np.abs(slow).max() < 2**15
    assert 1.0 < len(fast) / rate_hz < len(slow) / rate_hz < 4.0
