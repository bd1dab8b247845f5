"""What each effect of --augment costs beside the plain decoding of an utterance. `make bench` runs this.

One thread; utterance by utterance all rows in turn, so that whatever else the machine does falls on all of them alike.
Seconds are those of the processor. Recordings are spoken digits, where they are, else tones.
"""

import csv
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import write_corpus

from asrscale.augmentation.augment import augment, open_augmentation
from asrscale.corpus.build import build
from asrscale.corpus.build_options import ShardOptions
from asrscale.data.hashing import hash_keys
from asrscale.data.index import read_index
from asrscale.data.loader import read_utterances
from asrscale.speech.decoding import decode_payload
from asrscale.speech.encoding import encode
from asrscale.speech.pcm import SAMPLE_RATE_HZ, change_speed

UTTERANCES = 200
DIGITS = Path(__file__).parents[3] / "shared" / "data" / "digits"


def digits(folder: Path) -> Path:
    """A data set folder of UTTERANCES recordings."""
    if DIGITS.is_dir():
        with (DIGITS / "train.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))[:UTTERANCES]
        with (folder / "part.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        build(ShardOptions(csv=(f"part={folder}/part.csv",), audio_root=(str(DIGITS),), out=f"{folder}/shards"))
    else:
        part = write_corpus(folder / "corpus", utterances=UTTERANCES)
        build(ShardOptions(csv=(f"part={part}",), out=f"{folder}/shards"))
    return folder / "shards" / "part"


def sounds(folder: Path) -> None:
    """Ten minutes of noise in each of several formats, and rooms that ring for half a second."""
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal(600 * 44_100)).astype(np.float32)
    for name, suffix, rate_hz in (("wav16", "wav", 16_000), ("wav44", "wav", 44_100), ("flac", "flac", 16_000)):
        (folder / name).mkdir()
        soundfile.write(folder / name / f"noise.{suffix}", noise[: 600 * rate_hz], rate_hz)
    for name, suffix, seconds in (("ogg", "ogg", 600), ("mp3_5s", "mp3", 5), ("mp3_60s", "mp3", 60)):
        (folder / name).mkdir()
        with soundfile.SoundFile(folder / name / f"noise.{suffix}", "w", 16_000, 1) as file:
            for first in range(0, seconds * 16_000, 16_000):  # libvorbis overflows its stack with all at once
                file.write(noise[first : first + 16_000])
    (folder / "rir").mkdir()
    for number in range(10):
        response = rng.standard_normal(8_000) * np.exp(-np.arange(8_000) / 1_500) * 0.1
        response[50] = 0.9
        soundfile.write(folder / "rir" / f"{number}.wav", response, 16_000)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = digits(folder)
        sounds(folder)
        index = read_index([str(shards)])
        with ThreadPoolExecutor(1) as pool:
            pcms, _ = read_utterances(index, np.arange(len(index)), pool)
        payloads = [encode(pcms[number], "flac") for number in range(len(index))]
        texts = {
            "rir": f"rir={folder}/rir@1",
            "noise: wav, 16 kHz": f"noise={folder}/wav16@1",
            "noise: wav, 44.1 kHz": f"noise={folder}/wav44@1",
            "noise: flac, 16 kHz": f"noise={folder}/flac@1",
            "noise: ogg vorbis": f"noise={folder}/ogg@1",
            "noise: mp3 of 5 s": f"noise={folder}/mp3_5s@1",
            "noise: mp3 of 60 s": f"noise={folder}/mp3_60s@1",
            "noise: shards": f"noise={shards}@1",
            "gain": "gain@1",
            "clip": "clip@1",
            "telephone": "telephone@1",
            "codec=mulaw": "codec=mulaw@1",
            "codec=mp3": "codec=mp3@1",
            "codec=opus": "codec=opus@1",
            "the guide's example": f"noise={folder}/wav16@0.3,rir={folder}/rir@0.2,telephone@0.1,codec@0.1",
        }
        augmentations = {row: open_augmentation(text) for row, text in texts.items()}
        keys = hash_keys(len(index), 0).tolist()
        taken: dict[str, list[float]] = {"decode (FLAC)": [], "speed 1.1": []} | {row: [] for row in texts}
        for number, key in enumerate(keys):
            started = time.process_time()
            decode_payload(payloads[number])
            taken["decode (FLAC)"].append(time.process_time() - started)
            started = time.process_time()
            change_speed(pcms[number], 11)
            taken["speed 1.1"].append(time.process_time() - started)
            for row, augmentation in augmentations.items():
                assert augmentation
                started = time.process_time()
                augment(augmentation, pcms[number], key)
                taken[row].append(time.process_time() - started)
        seconds = np.mean([len(pcm) for pcm in pcms.values()]) / SAMPLE_RATE_HZ
        print(f"{len(index)} utterances of {seconds:.1f} s on average; milliseconds of the processor for each")
        decode_ms = 1_000 * np.mean(taken["decode (FLAC)"])
        for row, values in taken.items():
            mean_ms = 1_000 * np.mean(values)
            print(
                f"{row:22} {mean_ms:7.2f}  {mean_ms / decode_ms:6.1f} × decoding  {mean_ms / seconds:6.2f} ms a second"
            )


if __name__ == "__main__":
    main()
