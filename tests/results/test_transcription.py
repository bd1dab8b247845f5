import csv
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from conftest import REPOSITORY, WORDS, speak
from helpers.training import launch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale.common.progress import Progress, progress
from asrscale.decoding.decoder import Reading
from asrscale.decoding.options import DecodingOptions, open_decoder
from asrscale.model.forward import forward_logits
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.results import transcription
from asrscale.results.transcription import read_recordings, transcribe_files, words_of
from asrscale.results.windows import WINDOW_SECONDS, Window, stream_windows
from asrscale.speech.decoding import decode_long
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm, to_pcm16

Run = Callable[..., subprocess.CompletedProcess[str]]
DIGITS = REPOSITORY.parent / "shared/data/digits"
BAR = Progress(0, "", "", 0, enabled=False)


def texts_and_pcm(utterances: int, seed: int = 0) -> tuple[list[str], list[Pcm]]:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 6))) for _ in range(utterances)]
    return texts, [to_pcm16(speak(text, 10_000 + number)) for number, text in enumerate(texts)]


def read_alone(pcm: Pcm, recognizer: Recognizer) -> str:
    return str(words_of(read_recordings([pcm], recognizer, 40.0, BAR)[0], recognizer)["text"])


def test_the_words_of_a_model_with_an_adapter_are_where_its_frames_are(tone_recognizer: Recognizer) -> None:
    """Each of its frames is two of the encoder's, and later by 20 ms, since its padding does not centre its kernel."""
    vocabulary = tone_recognizer.vocabulary
    path = [vocabulary.blank_id] * 10 + vocabulary.encode("big dog") + [vocabulary.blank_id]
    config = Wav2Vec2Config(add_adapter=True, num_adapter_layers=1, adapter_kernel_size=5)
    with torch.device("meta"):
        adapted = replace(tone_recognizer, model=Wav2Vec2ForCTC(config))
    assert words_of(Reading(path, [0.25, 0.5]), adapted) == {
        "text": "big dog",
        "confidence": 0.375,
        "words": [
            {"word": "big", "start_seconds": 0.42, "end_seconds": 0.54, "confidence": 0.25},
            {"word": "dog", "start_seconds": 0.58, "end_seconds": 0.7, "confidence": 0.5},
        ],
    }


@pytest.mark.parametrize("cap_seconds", [0.1, 60.0])
def test_a_long_recording_has_the_text_of_its_utterances(cap_seconds: float, tone_recognizer: Recognizer) -> None:
    texts, clips = texts_and_pcm(60)
    alone = [read_alone(clip, tone_recognizer) for clip in clips]
    assert alone == texts  # else the model, not the joining, is at fault
    long, short = np.concatenate(clips), clips[0]
    assert len(long) > 3 * WINDOW_SECONDS * SAMPLE_RATE_HZ
    paths = read_recordings([long, short, np.zeros(100, np.int16)], tone_recognizer, cap_seconds, BAR)
    assert [words_of(path, tone_recognizer)["text"] for path in paths] == [" ".join(texts), texts[0], ""]


@pytest.mark.parametrize("hot_words", ["", "bad dog"])
def test_windows_that_end_in_pauses_have_the_words_of_their_utterances(
    hot_words: str, tone_recognizer: Recognizer, tmp_path: Path
) -> None:
    """And the times of them in the whole."""
    texts, clips = texts_and_pcm(40)
    rng = np.random.default_rng(0)
    pauses = [(100 * rng.standard_normal(4_000)).astype(np.int16) for _ in clips]
    long = np.concatenate([part for pair in zip(clips, pauses, strict=True) for part in pair])
    windows = list(stream_windows([long], tone_recognizer.geometry))
    assert [window.ends_in_pause for window in windows] == [True] * (len(windows) - 1) + [False] and len(windows) > 5
    decoder = None
    if hot_words:
        (tmp_path / "hot.txt").write_text(hot_words)
        options = DecodingOptions(hot_words=str(tmp_path / "hot.txt"))
        decoder, _ = open_decoder(options, tone_recognizer.vocabulary, None)
    [path] = read_recordings([long], tone_recognizer, 40.0, BAR, decoder)
    words = words_of(path, tone_recognizer)["words"]
    assert " ".join(word["word"] for word in words) == " ".join(texts)
    starts = np.cumsum([0] + [len(clip) + len(pause) for clip, pause in zip(clips, pauses, strict=True)])
    firsts = np.cumsum([0] + [len(text.split()) for text in texts])
    for start, first in zip(starts[:-1], firsts[:-1], strict=True):
        assert 0 < words[first]["start_seconds"] - start / SAMPLE_RATE_HZ < 0.13


@pytest.mark.parametrize("is_searched", [False, True])
def test_a_word_ends_with_a_window_that_ends_in_a_pause(
    is_searched: bool, tone_recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the model says no delimiter there, or a letter; all in overlapping windows stays."""
    vocabulary = tone_recognizer.vocabulary
    path = vocabulary.encode("bad") + [vocabulary.blank_id] * 3
    decoder = open_decoder(DecodingOptions(nbest=1), vocabulary, None)[0] if is_searched else None

    def text(paths: list[list[int]], *, ends_in_pause: bool, silent: int = 0) -> str:
        one_hot = [8.0 * torch.nn.functional.one_hot(torch.tensor(one), len(vocabulary.tokens)) for one in paths]
        windows = [Window(np.zeros(0, np.int16), slice(None), ends_in_pause, 0, silent) for _ in paths]
        computed = [
            transcription._with_silence(logits.float(), window, vocabulary.blank_id)
            for logits, window in zip(one_hot, windows, strict=True)
        ]
        monkeypatch.setattr(transcription, "logits_of_windows", lambda *_: list(enumerate(computed)))
        shares = [0.0] * len(paths)
        frames = transcription._frames_of_windows(windows, tone_recognizer, 40.0, BAR, decoder, shares)
        return str(words_of(transcription._read(frames, tone_recognizer, decoder), tone_recognizer)["text"])

    assert text([path, path], ends_in_pause=True) == "bad bad"
    assert text([path, path], ends_in_pause=False) == "badbad"
    assert text([path[:2], path[2:]], ends_in_pause=True) == "bad"
    assert text([path[:3], path[:3]], ends_in_pause=True, silent=1) == "bad bad"
    assert text([path[:3], path[:3]], ends_in_pause=True, silent=50) == "bad bad"
    assert text([path[:3], path[:3]], ends_in_pause=False, silent=50) == "badbad"


def test_silent_frames_say_blank_and_are_where_they_are_in_the_whole(tone_recognizer: Recognizer) -> None:
    """And finite, so that a search and an alignment can add them up."""
    vocabulary = tone_recognizer.vocabulary
    logits = torch.randn(4, len(vocabulary.tokens), generator=torch.Generator().manual_seed(0))
    window = Window(np.zeros(0, np.int16), slice(None), silent_before=3, silent_after=2)
    ln_probabilities = transcription._with_silence(logits, window, vocabulary.blank_id).log_softmax(-1)
    assert torch.equal(ln_probabilities[3:7], logits.log_softmax(-1))
    silent = ln_probabilities[[0, 1, 2, 7, 8]]
    assert (silent[:, vocabulary.blank_id] > -1e-4).all() and silent.isfinite().all()
    assert (silent.sort().values[:, :-1] < -10).all()


@pytest.mark.parametrize("background", [3, 100])
def test_utterances_that_are_joined_with_long_pauses_have_the_words_that_they_have_alone(
    background: float, tone_recognizer: Recognizer
) -> None:
    """Though their model makes words of so much silence where it hears it beside them."""
    texts, clips = texts_and_pcm(12, seed=4)
    rng = np.random.default_rng(1)
    parts = [(background * rng.standard_normal(seconds * SAMPLE_RATE_HZ)).astype(np.int16) for seconds in (7, 45, 3)]
    pauses = [*[parts[0]] * 4, *[parts[1]] * 2, *[parts[2]] * 7]
    long = np.concatenate([pauses[0], *(part for pair in zip(clips, pauses[1:], strict=True) for part in pair)])
    [reading] = read_recordings([long], tone_recognizer, 40.0, BAR)
    words = words_of(reading, tone_recognizer)["words"]
    assert " ".join(word["word"] for word in words) == " ".join(texts)
    assert len(reading.path) == tone_recognizer.geometry.num_frames(len(long))
    starts = np.cumsum(
        [len(pauses[0])] + [len(clip) + len(pause) for clip, pause in zip(clips, pauses[1:], strict=True)]
    )
    firsts = np.cumsum([0] + [len(text.split()) for text in texts])
    for start, first in zip(starts[:-1], firsts[:-1], strict=True):
        assert 0 < words[first]["start_seconds"] - start / SAMPLE_RATE_HZ < 0.13


def test_recordings_are_computed_while_they_are_read(
    tone_recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However long they are: no more than so much of them is in memory, whichever files it belongs to."""
    _, clips = texts_and_pcm(60)
    whole = np.concatenate(clips)
    recordings = [clips[0], whole, clips[1], whole[: 40 * SAMPLE_RATE_HZ], clips[2]]
    files = [str(tmp_path / f"{number}.flac") for number in range(len(recordings))]
    for file, recording in zip(files, recordings, strict=True):
        soundfile.write(file, recording, SAMPLE_RATE_HZ)
    damaged = tmp_path / "damaged.flac"
    damaged.write_bytes(Path(files[1]).read_bytes()[:-50_000])
    paths = read_recordings(recordings, tone_recognizer, 40.0, BAR)
    expected = [words_of(path, tone_recognizer)["text"] for path in paths]

    computed: list[float] = []
    frames_of_windows = transcription._frames_of_windows

    def record(windows: list[Window], *given: object) -> list[transcription.Frames]:
        computed.append(sum(len(window.samples) for window in windows) / SAMPLE_RATE_HZ)
        return frames_of_windows(windows, *given)

    monkeypatch.setattr(transcription, "_frames_of_windows", record)
    monkeypatch.setattr(transcription, "GROUP_SAMPLES", 30 * SAMPLE_RATE_HZ)
    given = [*files[:2], str(damaged), *files[2:], str(tmp_path / "missing.wav")]
    bar = Progress(0, "", "", 0, enabled=True)
    rows = list(transcribe_files(given, tone_recognizer, memory_cap_seconds=40.0, bar=bar))
    assert [row["file"] for row in rows] == files
    assert [row["text"] for row in rows] == expected
    assert [row["seconds"] for row in rows] == [len(recording) / SAMPLE_RATE_HZ for recording in recordings]
    assert max(computed) < 30 + 2 * WINDOW_SECONDS < sum(computed)
    assert "damaged.flac is left out: truncated" in (printed := capsys.readouterr().err), printed
    assert "missing.wav is left out: missing" in printed


def test_the_seconds_of_a_long_recording_are_counted_while_it_is_heard(
    tone_recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As plain lines where there is no terminal: the time that is left, too; what is left out is not waited for."""
    monkeypatch.setattr("asrscale.common.progress.PLAIN_LINE_SECONDS", 0.0)
    _, clips = texts_and_pcm(30)
    whole = np.concatenate(clips)
    files = [str(tmp_path / name) for name in ("a.flac", "b.flac", "none.flac")]
    for file in files[:2]:
        soundfile.write(file, whole, SAMPLE_RATE_HZ)
    seconds = len(whole) / SAMPLE_RATE_HZ
    lengths = dict(zip(files, (seconds, seconds, 50.0), strict=True))
    total = round(sum(lengths.values()))
    with progress(total, "transcribing", "s") as bar:
        rows = transcribe_files(files, tone_recognizer, memory_cap_seconds=20.0, bar=bar, lengths_seconds=lengths)
        assert len(list(rows)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("transcribing: ")]
    counts = [int(line.split()[1].split("/")[0]) for line in lines]
    assert counts == sorted(counts) and len(set(counts)) > 4 and counts[-1] == total
    in_between = [line for line, count in zip(lines, counts, strict=True) if 0 < count < total]
    assert all(" s left" in line for line in in_between) and any("windows" in line for line in in_between)


def test_word_times_are_those_of_the_sound(tone_recognizer: Recognizer) -> None:
    texts, clips = texts_and_pcm(60, seed=1)
    true, offset = [], 0
    for text, clip in zip(texts, clips, strict=True):
        for word in re.finditer(r"\S+", text):  # `speak` begins with 800 samples of silence; a letter lasts 1,280
            edges = (offset + 800 + 1_280 * place for place in word.span())
            true.append((word[0], *(edge / SAMPLE_RATE_HZ for edge in edges)))
        offset += len(clip)
    path = read_recordings([np.concatenate(clips)], tone_recognizer, 40.0, BAR)[0]
    words = words_of(path, tone_recognizer)["words"]
    for found, (word, start, end) in zip(words, true, strict=True):
        assert found["word"] == word
        # Frames are 30 ms long, and a letter of 80 ms is marked somewhere inside.
        assert start - 0.03 < found["start_seconds"] < start + 0.08 and end - 0.08 < found["end_seconds"] < end + 0.03


def sounds(pcm: Pcm) -> list[tuple[float, float]]:
    """Where each word begins and ends in a recording with pauses between words, by the level of each 10 ms, in seconds.

    A pause is longer than 100 ms: the silence within a spoken "six" is not.
    """
    level = np.sqrt(np.square(pcm[: len(pcm) // 160 * 160].reshape(-1, 160).astype(float)).mean(axis=1))
    loud = np.flatnonzero(level > 0.03 * level.max())
    parts = np.split(loud, np.flatnonzero(np.diff(loud) > 10) + 1)
    return [(part[0] / 100, (part[-1] + 1) / 100) for part in parts if len(part) >= 6]


@pytest.mark.slow
@pytest.mark.skipif(not DIGITS.is_dir(), reason="../shared/data is not here")
def test_word_times_of_spoken_digits_are_where_the_sound_is(
    tmp_path: Path, run_command: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a model trained here, on the strings of dev whose every digit stands between pauses."""
    by_hand = sounds(decode_long(str(DIGITS / "dev" / "digits-000000.mp3")))  # read off a print of its level
    assert by_hand == [(0.23, 0.43), (0.67, 1.03), (1.31, 1.60)]  # "one nine eight"
    csvs = ",".join(f"{split}={DIGITS / split}.csv" for split in ("train", "dev"))
    build = [sys.executable, "-m", "asrscale.shard", "--csv", csvs, "--audio_root", DIGITS, "--out", tmp_path / "data"]
    words = launch(2, tmp_path / "data", tmp_path / "run", "--max_steps", 1000, "--batch_seconds", 12)
    words[words.index("--valid") + 1] = str(tmp_path / "data" / "dev")
    for command in (build, words):
        done = run_command(*command, limit_seconds=3600)  # two minutes on two cores with nothing else to do
        assert done.returncode == 0, done.stdout + done.stderr
    recognizer = load_recognizer(str(tmp_path / "run" / "model"))
    errors: dict[str, list[tuple[float, float]]] = {"first": [], "inner": [], "last": []}
    with (DIGITS / "dev.csv").open() as file:
        texts = {str(DIGITS / row["filename"]): row["text"] for row in csv.DictReader(file)}
    for found in transcribe_files(list(texts), recognizer, memory_cap_seconds=40.0, bar=BAR):
        expected, true = texts[found["file"]].split(), sounds(decode_long(found["file"]))
        words_found = [word["word"] for word in found["words"]]
        if len(true) != len(expected):
            continue
        for block in SequenceMatcher(None, expected, words_found, autojunk=False).get_matching_blocks():
            for place in range(block.size):
                number, word = block.a + place, found["words"][block.b + place]
                kind = "first" if number == 0 else "last" if number == len(expected) - 1 else "inner"
                errors[kind] += [(word["start_seconds"] - true[number][0], word["end_seconds"] - true[number][1])]
    for kind, pairs in errors.items():
        low, median, high = np.percentile(pairs, (5, 50, 95), axis=0)
        with capsys.disabled():
            print(f"\n{kind} words, {len(pairs)}: begin {median[0]:+.3f} ({low[0]:+.3f} to {high[0]:+.3f}) s", end="")
            print(f", end {median[1]:+.3f} ({low[1]:+.3f} to {high[1]:+.3f}) s", end="")
        assert len(pairs) > 50 and (abs(median) < 0.12).all() and (low > -0.3).all() and (high < 0.2).all()


def test_forced_alignment_of_the_greedy_text_is_the_greedy_path(tone_recognizer: Recognizer) -> None:
    """So an alignment could only repeat the path."""
    functional = pytest.importorskip("torchaudio.functional", reason="PyPI has it for torch with CUDA only")
    _, clips = texts_and_pcm(20, seed=3)
    for pcm in clips:
        logits = forward_logits(
            tone_recognizer.model, tone_recognizer, torch.from_numpy(pcm)[None], torch.tensor([len(pcm)])
        )
        greedy = logits.argmax(-1)[0]
        blank = tone_recognizer.vocabulary.blank_id
        labels = torch.unique_consecutive(greedy)
        labels = labels[labels != blank]
        aligned, _ = functional.forced_align(logits.log_softmax(-1), labels[None], blank=blank)
        assert aligned[0].tolist() == greedy.tolist() == read_recordings([pcm], tone_recognizer, 40.0, BAR)[0].path


def test_every_format_has_the_same_text(tone_recognizer: Recognizer, tmp_path: Path) -> None:
    text = "bad dog big age die god bee gab"
    sound = np.concatenate([np.zeros(4_000, np.float32), speak(text, 1), np.zeros(4_000, np.float32)])
    for rate, name, kind in (
        (16_000, "a.flac", "PCM_16"), (44_100, "b.mp3", None), (48_000, "c.ogg", "VORBIS"), (48_000, "d.opus", "OPUS"),
        (22_050, "e.wav", "FLOAT"), (8_000, "f.aiff", None),
    ):  # fmt: skip
        stereo = np.stack([soxr.resample(sound, 16_000, rate)] * 2, axis=1)
        soundfile.write(tmp_path / name, stereo, rate, subtype=kind, format="OGG" if kind == "OPUS" else None)
    files = [str(path) for path in sorted(tmp_path.iterdir())]
    found = list(transcribe_files(files, tone_recognizer, memory_cap_seconds=40.0, bar=BAR))
    assert [one["file"] for one in found] == files
    assert [one["text"] for one in found[:5]] == [text] * 5  # at 8 kHz the upper tones are gone
    assert all(one["seconds"] == pytest.approx(len(sound) / SAMPLE_RATE_HZ, abs=0.1) for one in found)


def test_the_size_of_a_group_changes_no_text(
    tone_recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, clips = texts_and_pcm(7, seed=8)
    for number, pcm in enumerate(clips):
        soundfile.write(tmp_path / f"{number}.wav", pcm, SAMPLE_RATE_HZ)
    files = [str(tmp_path / f"{number}.wav") for number in range(7)] + [str(tmp_path / "nowhere.wav")]
    monkeypatch.setattr(transcription, "GROUP_SAMPLES", 30_000)
    found = transcribe_files(files, tone_recognizer, memory_cap_seconds=40.0, bar=BAR)
    assert [one["text"] for one in found] == texts
