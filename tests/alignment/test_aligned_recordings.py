"""Recordings of tones, whose words begin and end at known places."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import WORDS, speak

from asrscale.alignment import recordings
from asrscale.alignment.recordings import align_recording
from asrscale.common.errors import AudioError
from asrscale.common.progress import Progress
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ

BAR = Progress(0, "", "", 0, enabled=False)
LETTER_SECONDS = 0.08


def write_recording(path: Path, utterances: int, pause_seconds: float = 0.0) -> list[tuple[str, float, float]]:
    """Writes a recording with pauses; returns its words, and where each begins and ends in seconds."""
    rng = np.random.default_rng(0)
    sounds, words, offset = [], [], 0
    for number in range(utterances):
        text = " ".join(rng.choice(WORDS, size=rng.integers(1, 6)))
        sound = speak(text, 20_000 + number)  # begins with 800 samples of silence; a letter lasts 1,280
        for word in re.finditer(r"\S+", text):
            start, end = (offset + 800 + 1_280 * place for place in word.span())
            words.append((word[0], start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ))
        pause = 1e-4 * rng.standard_normal(int(pause_seconds * SAMPLE_RATE_HZ)).astype(np.float32)
        sounds += [sound, pause]
        offset += len(sound) + len(pause)
    soundfile.write(path, np.concatenate(sounds), SAMPLE_RATE_HZ)
    return words


def align(path: Path, text: str, recognizer: Recognizer) -> list[dict]:
    return align_recording(str(path), text, recognizer, memory_cap_seconds=40.0, bar=BAR)["words"]


def test_words_are_found_where_they_are_in_a_long_recording(tone_recognizer: Recognizer, tmp_path: Path) -> None:
    true = write_recording(tmp_path / "a.wav", 120)
    assert true[-1][2] > 3 * recordings.PIECE_SECONDS
    found = align(tmp_path / "a.wav", "\n".join(word.upper() + "," for word, *_ in true), tone_recognizer)
    assert [word["word"] for word in found] == [word.upper() + "," for word, *_ in true]
    for word, (text, start, end) in zip(found, true, strict=True):
        assert abs(word["start_seconds"] - start) < LETTER_SECONDS and abs(word["end_seconds"] - end) < LETTER_SECONDS
        assert word["score"] > 0.5
        assert "".join(one["character"] for one in word["characters"]) == text
        assert word["characters"][0]["start_seconds"] == word["start_seconds"]


def test_a_word_that_is_not_said_has_a_low_score_and_the_others_stay(
    tone_recognizer: Recognizer, tmp_path: Path
) -> None:
    true = write_recording(tmp_path / "a.wav", 40)
    words = [word for word, *_ in true]
    before = align(tmp_path / "a.wav", " ".join(words), tone_recognizer)
    planted = list(range(5, len(words), 9))
    for place in planted:
        words.insert(place, "badge")
    after = align(tmp_path / "a.wav", " ".join(words), tone_recognizer)
    unlikely = {place for place, word in enumerate(after) if word["score"] < 0.1}
    assert set(planted) <= unlikely
    # What is squeezed in takes letters of the words beside it, where both have them.
    assert {place for place in unlikely if not set(range(place - 2, place + 3)) & set(planted)} == set()
    assert len(unlikely) < 2 * len(planted)
    said = [word for place, word in enumerate(after) if place not in planted]
    moved = [abs(a["start_seconds"] - b["start_seconds"]) for a, b in zip(before, said, strict=True)]
    assert np.median(moved) == 0


def test_words_beside_long_pauses_stay_where_they_are_whatever_the_text_has_there(
    tone_recognizer: Recognizer, tmp_path: Path
) -> None:
    """Silence is not computed, but words that nobody says have their place in it."""
    true = write_recording(tmp_path / "a.wav", 20, pause_seconds=3.0)
    words = [word for word, *_ in true]
    starts = np.array([start for _, start, _ in true])
    place = 1 + int(np.flatnonzero(np.diff(starts) > 3.0)[9])  # behind ten pauses
    assert (words[place - 1], words[place]) == ("big", "bee")
    planted = ["dad", "odd"]  # no letter of these
    found = align(tmp_path / "a.wav", " ".join(words[:place] + planted + words[place:]), tone_recognizer)
    for word, (text, start, end) in zip(found[:place] + found[place + 2 :], true, strict=True):
        assert word["word"] == text and word["score"] > 0.5
        assert abs(word["start_seconds"] - start) < LETTER_SECONDS and abs(word["end_seconds"] - end) < LETTER_SECONDS
    assert all(word["score"] < 0.1 for word in found[place : place + 2])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("gone.wav", "bad", "missing: no such file"),
        ("a.wav", " \n", "empty: no letter of its text"),
        ("a.wav", "bad " * 200, "too much text: "),
        ("noise.mp3", "bad", "unreadable"),
    ],
)
def test_what_cannot_be_aligned_says_why(
    name: str, text: str, reason: str, tone_recognizer: Recognizer, tmp_path: Path
) -> None:
    write_recording(tmp_path / "a.wav", 2)
    (tmp_path / "noise.mp3").write_text("no sound")
    with pytest.raises(AudioError, match=reason):
        align(tmp_path / name, text, tone_recognizer)
