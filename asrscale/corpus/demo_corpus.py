"""A spoken corpus made on the spot: espeak-ng voices reading a small command grammar.

It has the shape of Common Voice v1: a CSV a split beside folders of 48 kHz mp3s. What is said, by whom and how, is a
pure function of (seed, split, number), so a small corpus is the beginning of a large one; the audio's bytes are not.
"""

import ctypes
import hashlib
import importlib.util
import json
import multiprocessing
import os
import random
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product, repeat
from pathlib import Path

import numpy as np
import soundfile
import soxr

from asrscale.common.errors import CliError
from asrscale.common.progress import progress
from asrscale.speech.pcm import Waveform

CORPUS_VERSION = 1  # of the grammar, the voices and the choices below: raise it when they change


CLIP_RATE_HZ = 48_000  # Common Voice's own


MIN_UTTERANCES, MIN_SPLIT_UTTERANCES = 20, 4  # of training, of the other splits


# A sentence takes one alternative (a|b) of every word of a template, where a capitalised word stands for its slot.
TEMPLATES = (
    "|please|don't turn on|off the DEVICE in the ROOM WHEN",
    "turn on|off the ROOM DEVICE at DIGIT WHEN",
    "set the ROOM timer|alarm for twenty|thirty|forty|fifty DIGIT seconds|minutes|hours",
    "|please|don't call anna|peter|maria|david before|after|at DIGIT on DAY",
    "what's the weather|news in london|paris|berlin before|after|at DIGIT on DAY",
    "take the train from london|paris|berlin to madrid|vienna|boston at DIGIT on DAY",
    "play jazz|rock|piano in the ROOM at DIGIT on DAY",
)


SLOTS = {
    "DEVICE": "light|fan|heater|radio|camera",
    "ROOM": "kitchen|bedroom|bathroom|garage|office|garden",
    "WHEN": "|now|today|tomorrow|tonight",
    "DIGIT": "one|two|three|four|five|six|seven|eight|nine",
    "DAY": "monday|tuesday|wednesday|thursday|friday|saturday|sunday",
}


# No variant (after the +) of a new voice is heard in training. en-us+m8 was left out: strongly filtered, 62 % WER.
TRAIN_VOICES = (
    "en+m1", "en+m3", "en+f1", "en+f2", "en-us+m1", "en-us+m2", "en-us+f2", "en-us+f4",
    "en-gb-scotland+m3", "en-gb-scotland+m6", "en-gb-scotland+f1", "en-gb-scotland+f4",
    "en-gb-x-rp+m2", "en-gb-x-rp+m6", "en-gb-x-rp+f2", "en-gb-x-rp+f5",
)  # fmt: skip


NEW_VOICES = ("en+m4", "en-us+m7", "en-gb-x-rp+f3", "en-us+f3")


# Name of its shards, share of --utterances, percents of the shuffled sentences (no overlap: none is shared), voices.
SPLITS = {
    "cv-valid-train": ("train", 1.0, 15, 100, TRAIN_VOICES),
    "cv-valid-dev": ("valid", 0.05, 0, 5, TRAIN_VOICES),
    "cv-valid-test": ("test", 0.075, 5, 10, TRAIN_VOICES),
    "cv-valid-voices": ("voices", 0.0375, 10, 15, NEW_VOICES),
}


@dataclass(frozen=True)
class Utterance:
    """What is said in one clip, and how."""

    split: str
    filename: str  # below the corpus, as its CSV names it
    text: str
    voice: str  # espeak-ng's language+variant
    pitch: int  # on espeak's scale of 0..100, about the voice's own 50
    words_per_minute: int  # espeak's default is 175
    level_dbfs: float  # RMS of the whole clip, about the usual -20
    snr_db: float  # of a quiet room
    noise_seed: int


def sentences() -> list[str]:
    """Every sentence of the grammar, once, in a fixed order; made of a-z, apostrophe and space only."""
    slots = ([SLOTS.get(word, word).split("|") for word in template.split()] for template in TEMPLATES)
    return [" ".join(filter(None, words)) for alternatives in slots for words in product(*alternatives)]


def plan_corpus(seed: int, utterances: int) -> list[Utterance]:
    """Plans `utterances` training clips and the other splits' share; no split repeats a sentence before it used all."""
    order = sorted(sentences(), key=lambda text: hashlib.sha256(f"{seed} {text}".encode()).digest())
    planned: list[Utterance] = []
    for split, (_, share, first_percent, end_percent, voices) in SPLITS.items():
        texts = order[len(order) * first_percent // 100 : len(order) * end_percent // 100]
        for number in range(max(MIN_SPLIT_UTTERANCES, round(utterances * share))):
            chosen = random.Random(f"{seed} {split} {number}")  # text seeds are hashed: the same on any machine
            what = (split, f"{split}/sample-{number:06d}.mp3", texts[number % len(texts)], voices[number % len(voices)])
            how = chosen.randint(35, 65), chosen.randint(155, 205), chosen.uniform(-23, -17), chosen.uniform(25, 40)
            planned.append(Utterance(*what, *how, chosen.getrandbits(32)))
    return planned


@cache  # espeak-ng has one state a process
def _espeak() -> tuple[ctypes.CDLL, int]:
    """espeak-ng, started, and its sample rate in Hz. Numbers here and below are those of its speak_lib.h."""
    import espeakng_loader  # an optional extra

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    # 2: it calls back from within espeak_Synth, ten times faster than its own thread. 0x8000: do not exit
    return library, library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0x8000)


def record(folder: Path, utterance: Utterance) -> str:
    """Speaks in a quiet room into an mp3 below `folder`: its line of the CSV; RuntimeError where espeak-ng fails."""
    library, rate_hz = _espeak()
    pieces: list[bytes] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)  # type: ignore[untyped-decorator]
    def collect(samples: int | None, count: int, _events: int | None) -> int:
        pieces.append(ctypes.string_at(samples, 2 * count) if samples else b"")
        return 0  # go on

    library.espeak_SetSynthCallback(collect)
    text, rate, pitch, from_character, utf8 = utterance.text.encode() + b"\0", 1, 3, 1, 1
    failed = (
        library.espeak_SetVoiceByName(utterance.voice.encode())
        or library.espeak_SetParameter(rate, utterance.words_per_minute, 0)
        or library.espeak_SetParameter(pitch, utterance.pitch, 0)
        or library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, from_character, 0, utf8, None, None)
        or library.espeak_Synchronize()
    )
    if failed or not any(pieces):
        raise RuntimeError(f"espeak-ng cannot speak '{utterance.text}' as {utterance.voice} (error {failed})")
    voice = np.frombuffer(b"".join(pieces), np.int16).astype(np.float32)
    speech: Waveform = soxr.resample(voice, rate_hz, CLIP_RATE_HZ)
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max())  # above -40 dB
    speech = np.pad(speech[loud[0] : loud[-1] + 1], round(0.15 * CLIP_RATE_HZ))  # that many seconds of room at each end
    speech /= np.sqrt(np.mean(np.square(speech)))
    noise = np.random.default_rng(utterance.noise_seed).standard_normal(speech.size, dtype=np.float32)
    noisy = speech + noise * 10 ** (-utterance.snr_db / 20)
    gain = min(10 ** (utterance.level_dbfs / 20), 0.9 / np.abs(noisy).max())  # 0.9: the mp3 encoder may overshoot
    path, gender = folder / utterance.filename, "female" if "+f" in utterance.voice else "male"
    soundfile.write(path, noisy * gain, CLIP_RATE_HZ, format="MP3", compression_level=0.5)  # about 75 kbit/s
    seconds = soundfile.info(path).duration
    return f"{utterance.filename},{utterance.text},1,0,,{gender},{utterance.voice},{seconds:.3f}\n"  # nothing to quote


def make_corpus(out_folder: str, *, seed: int, utterances: int, workers: int) -> None:
    """Makes the corpus in `out_folder`, whole or not at all, unless it is already made.

    Raises:
        CliError: A bad flag, an `out` that is something else, or espeakng-loader is not installed.
    """
    for flag, value, least in (("utterances", utterances, MIN_UTTERANCES), ("workers", workers, 1)):
        if value < least:
            raise CliError(f"--{flag} {value}: give at least {least}")
    out = Path(out_folder)
    tables = ",".join(f"{name}={out}/{split}.csv" for split, (name, *_) in SPLITS.items())
    following = f"next: python -m asrscale.shard --csv {tables} --audio_root {out} --out data/demo/shards"
    made = json.dumps({"corpus_version": CORPUS_VERSION, "seed": seed, "utterances": utterances}) + "\n"
    note = out / "corpus.json"
    if note.is_file() and note.read_bytes() == made.encode():
        print(f"{out} is already made, with these options\n{following}")
        return
    if os.path.lexists(out):
        raise CliError(f"--out {out} exists and is no demo corpus of these options: choose another --out")
    if importlib.util.find_spec("espeakng_loader") is None:
        raise CliError("the demo corpus needs espeakng-loader: pip install 'asrscale[demo]'")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise CliError(f"--out {out} cannot be made: {error.strerror}") from None
    planned = plan_corpus(seed, utterances)
    spawn = multiprocessing.get_context("spawn")  # a fork would share the parent's espeak state and locks
    executor = ProcessPoolExecutor(workers, spawn)
    with scratch, executor as pool, progress(len(planned), "speaking", "clips") as bar:
        whole = Path(scratch.name) / out.name
        for split in SPLITS:
            (whole / split).mkdir(parents=True)
            of_split = [utterance for utterance in planned if utterance.split == split]
            with (whole / f"{split}.csv").open("w", encoding="utf-8") as table:
                table.write("filename,text,up_votes,down_votes,age,gender,accent,duration\n")
                for line in pool.map(record, repeat(whole), of_split, chunksize=8):
                    table.write(line)
                    bar.advance()
        (whole / note.name).write_bytes(made.encode())
        whole.rename(out)
    print(f"{len(planned):,} clips, {len(TRAIN_VOICES + NEW_VOICES)} voices in {out}\n{following}")
