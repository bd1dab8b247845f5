"""What it costs to hear recordings joined to one of minutes, cut in pauses and in overlapping windows.

    python tests/bench/bench_windows.py DATA_SET_FOLDER RUN/model RUN2/model ...

Up to 200 utterances of the data set are joined as they are, with pauses, and with noise or music all through. Each row
is the WER of the utterances as they are, of the utterances by themselves (of the same sound as the whole, so with the
pause at their ends), of the whole in overlapping windows alone, and of the whole in windows cut in pauses; then how
many windows end in a pause, and the processor time of the two whole ones.
"""

import os
import sys
from collections.abc import Sequence
from unittest import mock

import numpy as np

from asrscale.common.progress import Progress
from asrscale.data.index import read_index
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.results import windows
from asrscale.results.metrics import count_errors
from asrscale.results.transcription import read_recordings, words_of
from asrscale.speech.decoding import decode_payload
from asrscale.speech.pauses import NO_QUIET
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

BAR = Progress(0, "", "", 0, enabled=False)
RNG = np.random.default_rng(0)


def read_clips(folder: str) -> tuple[list[str], list[Pcm]]:
    """The transcripts and the sound of up to 200 utterances."""
    index = read_index([folder])
    clips = []
    for utterance in range(min(200, len(index))):
        with open(index.shards[index.shard_ids[utterance]], "rb") as file:
            file.seek(int(index.offsets[utterance]))
            clips.append(decode_payload(file.read(int(index.sizes[utterance]))))
    return [text.as_py() for text in index.texts[: len(clips)]], clips


def noise(length: int, kind: str) -> np.ndarray:
    """Pink noise, or a chord that swells, of power 1."""
    if kind == "music":
        time_seconds = np.arange(length) / SAMPLE_RATE_HZ
        tones = [np.sin(2 * np.pi * hertz * time_seconds) for hertz in (220, 277.2, 329.6, 440, 554.4)]
        sound = np.sum(tones, axis=0) * (1 + 0.3 * np.sin(2 * np.pi * 0.7 * time_seconds))
    else:
        spectrum = np.fft.rfft(RNG.standard_normal(length))
        sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), length)
    return sound / np.sqrt(np.square(sound).mean())


def parts(clips: Sequence[Pcm], pause_seconds: float, kind: str, snr_db: float) -> list[Pcm]:
    """Each clip with the pause behind it, all with one background."""
    quiet = [(3 * RNG.standard_normal(int(pause_seconds * SAMPLE_RATE_HZ))).astype(np.int16) for _ in clips]
    longer = [np.concatenate(pair) for pair in zip(clips, quiet, strict=True)]
    if not kind:
        return longer
    whole = np.concatenate(longer).astype(np.float64)
    level = np.sqrt(np.square(np.concatenate(clips).astype(np.float64)).mean()) / 10 ** (snr_db / 20)
    mixed = np.clip(whole + level * noise(len(whole), kind), -32_768, 32_767).astype(np.int16)
    return np.split(mixed, np.cumsum([len(part) for part in longer])[:-1])


def heard(recordings: Sequence[Pcm], recognizer: Recognizer) -> tuple[list[str], float]:
    """The texts, and the processor time that they take in seconds."""
    start = sum(os.times()[:2])
    paths = read_recordings(recordings, recognizer, 40.0, BAR)
    return [words_of(path, recognizer)["text"] for path in paths], sum(os.times()[:2]) - start


def main(folder: str, models: Sequence[str]) -> None:
    """Prints what was measured."""
    texts, clips = read_clips(folder)
    print(f"{len(clips)} utterances, {sum(map(len, clips)) / SAMPLE_RATE_HZ:.0f} s")
    kinds = [
        (0.0, "", 0.0),
        (0.3, "", 0.0),
        (0.5, "", 0.0),
        (1.0, "", 0.0),
        (0.3, "pink", 20.0),
        (0.3, "pink", 10.0),
        (0.3, "music", 15.0),
    ]
    for model in models:
        recognizer = load_recognizer(model, "")
        plain, _ = heard(clips, recognizer)
        for pause_seconds, kind, snr_db in kinds:
            own = parts(clips, pause_seconds, kind, snr_db)
            whole = np.concatenate(own)
            alone, _ = heard(own, recognizer)
            with mock.patch.object(windows, "find_quiet", return_value=NO_QUIET):
                [overlapping], overlapping_seconds = heard([whole], recognizer)
            [cut], cut_seconds = heard([whole], recognizer)
            found = list(windows.stream_windows([whole], recognizer.geometry))
            rates = [
                count_errors(texts, plain).wer,
                count_errors(texts, alone).wer,
                *(count_errors([" ".join(texts)], [text]).wer for text in (overlapping, cut)),
            ]
            shown = " | ".join(f"{rate:.2%}" for rate in rates)
            print(
                f"| {model} | {pause_seconds:g} s {kind} {snr_db or ''} | {shown} "
                f"| {sum(window.ends_in_pause for window in found)} of {len(found)} "
                f"| {overlapping_seconds:.1f}, {cut_seconds:.1f} s |",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) >= 3:
        main(sys.argv[1], sys.argv[2:])
    else:
        print("not measured, which needs a trained model: bench_windows.py DATA_SET_FOLDER RUN/model RUN2/model ...")
