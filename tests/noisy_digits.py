"""Does augmentation help on noise that was not in training? Trains and tests on copies of the digits; hours of work.

    python tests/noisy_digits.py --train DATA/train --dev DATA/dev --out OUT

DATA are data set folders of digits, as docs/experiments/trained-models.md builds them. In OUT it makes

    sounds/{noise,babble,rir}      for training: coloured noise, several training utterances at once, and rooms of noise
                                   that decays
    copies/{noise,room,phone}      of the dev set, for testing, by other generators and by none of asrscale's own code:
                                   hum, knocks, sirens and chords; rooms of image sources; 8 kHz with µ-law
    runs/{plain,augmented}-SEED    one after the other; a run that is there already goes on, or is taken as it is

and prints the word error rate of each run on the dev set and on each of its copies, with the mean and the range over
the seeds. What has been made is not made again.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asrscale.common import cli
from asrscale.data.index import read_index
from asrscale.data.loader import read_utterances
from asrscale.speech.pcm import PCM_SCALE

RATE_HZ = 16_000
COPIES = ("noise", "room", "phone")
SNR_DB = (0.0, 15.0)  # of the copies with noise
PARTS = (
    "noise={sounds}/noise:0..20dB@0.3,noise={sounds}/babble:5..20dB@0.2,rir={sounds}/rir@0.3,telephone@0.1,codec@0.1"
)


@dataclass(frozen=True)
class Options:
    """Word error rates of noisy copies of the digits, with and without augmentation."""

    train: str = cli.setting(help="data set folder to train on")
    dev: str = cli.setting(help="data set folder to validate on, of which copies are made")
    out: str = cli.setting(help="folder for sounds, copies and runs")
    steps: int = cli.setting(2000, help="length of a run")
    seeds: tuple[int, ...] = cli.setting((1, 2, 3), help="seeds of the runs")
    ranks: int = cli.setting(2, help="processes of a run")
    augment: str | None = cli.setting(None, help="--augment of the augmented runs; none: noise, babble, rooms and more")


def coloured_noise(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """(T,) noise whose spectrum falls or rises, with a few broad resonances."""
    frequencies = np.fft.rfftfreq(num_samples, 1 / RATE_HZ)
    shape = np.maximum(frequencies, 20) ** rng.uniform(-1, 0.3)
    for centre_hz in rng.uniform(100, 6_000, rng.integers(0, 4)):
        shape *= 1 + rng.uniform(1, 5) * np.exp(-(((frequencies - centre_hz) / rng.uniform(50, 500)) ** 2))
    white = rng.standard_normal(len(frequencies)) + 1j * rng.standard_normal(len(frequencies))
    return normalised(np.fft.irfft(white * shape, num_samples))


def decaying_room(rng: np.random.Generator) -> np.ndarray:
    """An impulse response: a direct path, then noise that decays by 60 dB in 0.2 to 0.8 s."""
    decay_seconds = rng.uniform(0.2, 0.8)
    times = np.arange(int(decay_seconds * RATE_HZ)) / RATE_HZ
    response = rng.standard_normal(len(times)) * 10 ** (-3 * times / decay_seconds) * rng.uniform(0.02, 0.1)
    response[:32] = 0
    response[32] = 1
    return 0.5 * response


def machine_hum(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """(T,) harmonics of a motor whose load changes."""
    times = np.arange(num_samples) / RATE_HZ
    speed = rng.uniform(45, 130) * (1 + 0.03 * np.sin(2 * np.pi * rng.uniform(0.2, 2) * times))
    phase = 2 * np.pi * np.cumsum(speed) / RATE_HZ
    return sum(rng.uniform(0, 1) / number**0.7 * np.sin(number * phase + rng.uniform(0, 6)) for number in range(1, 40))


def knocks(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """(T,) things that hit each other, several times a second, and ring briefly."""
    sound = 1e-3 * rng.standard_normal(num_samples)
    times = np.arange(RATE_HZ // 4) / RATE_HZ
    for start in rng.integers(0, num_samples, max(3, num_samples * 6 // RATE_HZ)):
        ring = np.exp(-times / rng.uniform(0.005, 0.06)) * np.sin(2 * np.pi * rng.uniform(200, 4_000) * times)
        room = min(len(ring), num_samples - start)
        sound[start : start + room] += rng.uniform(0.2, 1) * ring[:room]
    return sound


def siren(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """(T,) a tone that goes up and down, with overtones."""
    times = np.arange(num_samples) / RATE_HZ
    pitch_hz = rng.uniform(500, 1_200) * (1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 3) * times))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    return np.tanh(3 * np.sin(phase)) + 0.3 * np.sin(3 * phase)


def chords(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """(T,) plucked chords, two a second."""
    sound = np.zeros(num_samples)
    for start in range(0, num_samples, RATE_HZ // 2):
        times = np.arange(min(RATE_HZ, num_samples - start)) / RATE_HZ
        root_hz = 110 * 2 ** (rng.integers(0, 24) / 12)
        for step in (0, 4, 7, 12):
            hz = root_hz * 2 ** (step / 12)
            for harmonic in range(1, 6):
                pluck = np.exp(-times * harmonic * 3) * np.sin(2 * np.pi * hz * harmonic * times)
                sound[start : start + len(times)] += pluck / harmonic
    return sound


TEST_NOISES: tuple[Callable[[np.random.Generator, int], np.ndarray], ...] = (machine_hum, knocks, siren, chords)


def image_source_room(rng: np.random.Generator) -> np.ndarray:
    """The impulse response of a box with hard walls: Allen and Berkley 1979, images up to the twelfth order."""
    box = rng.uniform((3, 3, 2.4), (9, 7, 3.5))
    source, microphone = rng.uniform(0.5, box - 0.5), rng.uniform(0.5, box - 0.5)
    reflection = rng.uniform(0.75, 0.92)
    response = np.zeros(RATE_HZ)
    orders = np.arange(-12, 13)
    cells = np.stack(np.meshgrid(orders, orders, orders, indexing="ij"), -1).reshape(-1, 3)
    # In an odd cell the source is mirrored.
    images = np.where(cells % 2 == 0, cells * box + source, (cells + 1) * box - source)
    distances = np.maximum(np.linalg.norm(images - microphone, axis=1), 0.3)
    places = np.rint(distances / 343 * RATE_HZ).astype(int)
    heard = places < len(response)
    gains = reflection ** np.abs(cells).sum(1) / distances
    np.add.at(response, places[heard], gains[heard])
    return response[places.min() :]  # so that the direct path comes first


def with_noise(rng: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """(T,) speech with one of the noises that training has not."""
    noise = TEST_NOISES[rng.integers(len(TEST_NOISES))](rng, len(speech))
    snr_db = rng.uniform(*SNR_DB)
    return speech + noise * np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)


def in_room(rng: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """(T,) speech in a box."""
    wet = np.convolve(speech, image_source_room(rng))[: len(speech)]
    return wet * np.sqrt(np.mean(speech**2) / np.mean(wet**2))


def on_phone(rng: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """(T,) speech of 300 to 3,400 Hz, with 8 bits of µ-law's curve a sample (ITU-T G.711 by its formula)."""
    spectrum = np.fft.rfft(speech)
    frequencies = np.fft.rfftfreq(len(speech), 1 / RATE_HZ)
    spectrum[(frequencies < 300) | (frequencies > 3_400)] = 0
    narrow = np.clip(np.fft.irfft(spectrum, len(speech)) * rng.uniform(0.3, 1), -1, 1)
    curve = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
    coarse = np.rint(curve * 127) / 127
    return np.sign(coarse) * np.expm1(np.abs(coarse) * np.log(256)) / 255


CHANGES: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "noise": with_noise,
    "room": in_room,
    "phone": on_phone,
}


def normalised(sound: np.ndarray) -> np.ndarray:
    """A sound with a peak of 0.5."""
    return 0.5 * sound / np.abs(sound).max()


def babble(rng: np.random.Generator, speech: list[np.ndarray], num_samples: int) -> np.ndarray:
    """(T,) three to seven people who talk at once, as Kaldi's recipes for MUSAN have it."""
    sound = np.zeros(num_samples)
    for _ in range(rng.integers(3, 8)):
        order = rng.permutation(len(speech))
        talk = np.concatenate([speech[number] for number in order])
        start = rng.integers(len(speech[order[0]]))
        sound += rng.uniform(0.3, 1) * talk[start : start + num_samples]
    return normalised(sound)


def write_sounds(train: str, folder: Path) -> None:
    """Writes what training draws from."""
    rng = np.random.default_rng(0)
    for kind in ("noise", "babble", "rir"):
        (folder / kind).mkdir(parents=True)
    speech = read_speech(train, np.arange(100))
    for number in range(60):
        soundfile.write(folder / "babble" / f"{number:02}.flac", babble(rng, speech, 20 * RATE_HZ), RATE_HZ)
        soundfile.write(folder / "noise" / f"{number:02}.flac", coloured_noise(rng, 20 * RATE_HZ), RATE_HZ)
        soundfile.write(folder / "rir" / f"{number:02}.wav", decaying_room(rng), RATE_HZ, subtype="FLOAT")


def read_speech(folder: str, numbers: np.ndarray) -> list[np.ndarray]:
    """The samples of some utterances of a data set folder, each (T,) from -1 to 1."""
    with ThreadPoolExecutor(2) as pool:
        pcms, damaged = read_utterances(read_index([folder]), numbers, pool)
    assert not damaged
    return [pcms[number] / PCM_SCALE for number in numbers.tolist()]


def write_copies(dev: str, folder: Path) -> None:
    """Builds data set folders of changed copies of the dev set."""
    index = read_index([dev])
    speech = read_speech(dev, np.arange(len(index)))
    corpus = folder / "corpus"
    for place, name in enumerate(COPIES):
        (corpus / name).mkdir(parents=True, exist_ok=True)
        rows = []
        for number in range(len(index)):
            rng = np.random.default_rng((1, place, number))
            changed = CHANGES[name](rng, speech[number])
            changed /= max(1.0, np.abs(changed).max())
            soundfile.write(corpus / name / f"{number:04}.wav", changed, RATE_HZ)
            rows.append({"filename": f"{name}/{number:04}.wav", "text": index.texts[number].as_py()})
        with (corpus / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    csvs = ",".join(f"{name}={corpus}/{name}.csv" for name in COPIES)
    run([sys.executable, "-m", "asrscale.shard", "--csv", csvs, "--audio_root", corpus, "--out", folder])


def run(words: list[object]) -> None:
    """Runs a command, and ends with it if it fails."""
    print("$", *words, flush=True)
    subprocess.run([str(word) for word in words], check=True)


def train(options: Options, folder: Path, seed: int, augment: str | None) -> None:
    """Trains a model from scratch, as in docs/experiments/trained-models.md."""
    words: list[object] = ["deepspeed", "-q", "--num_gpus", options.ranks, "launch/train.py", "--run", folder]
    words += [
        "--model",
        "tiny",
        "--train",
        options.train,
        "--valid",
        options.dev,
        "--seed",
        seed,
        "--max_steps",
        options.steps,
    ]
    words += ["--config", "ds_configs/zero2.json", "--patience", 0, "--wandb", "off"]
    run(words + (["--augment", augment] if augment else []))


def error_rates(options: Options, folder: Path) -> dict[str, float]:
    """The word error rate in percent of a run's model on the dev set and on its copies."""
    places = {"clean": options.dev} | {name: f"{options.out}/copies/{name}" for name in COPIES}
    rates = folder / "noisy"
    evaluate = [sys.executable, "-m", "asrscale.evaluate", "--model", folder / "model", "--out", rates]
    run([*evaluate, "--data", ",".join(places.values())])
    results = [json.loads(path.read_text()) for path in rates.glob("*.json")]
    found = {result["data"]: 100 * result["wer"] for result in results}
    return {name: found[place] for name, place in places.items()}


def main(options: Options) -> None:
    """Makes what is missing, trains, and prints a table."""
    out = Path(options.out)
    if not (out / "sounds").exists():
        write_sounds(options.train, out / "sounds")
    if not (out / "copies" / COPIES[-1] / "dataset.json").exists():
        write_copies(options.dev, out / "copies")
    augment = options.augment or PARTS.format(sounds=out / "sounds")
    rates: dict[str, list[dict[str, float]]] = {"plain": [], "augmented": []}
    for seed in options.seeds:
        for name, text in (("plain", None), ("augmented", augment)):
            folder = out / "runs" / f"{name}-{seed}"
            train(options, folder, seed, text)
            rates[name].append(error_rates(options, folder))
    print(f"\nWER in percent, {options.steps} steps, --augment {augment}\n")
    print("| | " + " | ".join(rates["plain"][0]) + " |\n" + "|---" * (1 + len(rates["plain"][0])) + "|")
    for name, of_seeds in rates.items():
        for seed, row in zip(options.seeds, of_seeds, strict=True):
            print(f"| {name}, seed {seed} | " + " | ".join(f"{value:.2f}" for value in row.values()) + " |")
        means = [np.mean([row[column] for row in of_seeds]) for column in of_seeds[0]]
        print(f"| **{name}, mean** | " + " | ".join(f"**{mean:.2f}**" for mean in means) + " |")


if __name__ == "__main__":
    cli.run(Options, main)
