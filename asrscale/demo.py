"""A spoken corpus made on the spot: espeak-ng voices reading a small command grammar.

    python -m asrscale.demo --out data/demo/corpus

It has the shape of Common Voice v1 (a CSV a split beside folders of 48 kHz mp3s), so the rest of the
toolkit can be tried from end to end without a download. What is said, by whom and how, is a pure
function of (seed, split, utterance number): a corpus of 40 utterances is the beginning of one of 4,000.
The audio's bytes are not: espeak-ng's noise sources differ from call to call.

Shapes: T samples of one recording.
"""

import csv
import ctypes
import hashlib
import importlib.util
import json
import multiprocessing
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from asrscale import cli
from asrscale.audio import PCM_SCALE, Waveform
from asrscale.cli import setting
from asrscale.errors import CliError
from asrscale.progress import progress

COLUMNS = ("filename", "text", "up_votes", "down_votes", "age", "gender", "accent", "duration")
CLIP_RATE_HZ = 48_000  # Common Voice's own
CORPUS_VERSION = 1  # of the grammar, the voices and the choices below: raise it when they change
CORPUS_FILE = "corpus.json"  # the options of a whole corpus

# A capitalised word of a template stands for any of its words; "-" is no word at all.
SLOTS = {
    "PLEASE": "- please don't",
    "SWITCH": "on off",
    "DEVICE": "light fan heater radio camera",
    "ROOM": "kitchen bedroom bathroom garage office garden",
    "WHEN": "- now today tomorrow tonight",
    "CLOCK": "timer alarm",
    "TENS": "twenty thirty forty fifty",
    "ONES": "one two three four five six seven eight nine",
    "SPAN": "seconds minutes hours",
    "PERSON": "anna peter maria david",
    "BEFORE": "before after at",
    "DAY": "monday tuesday wednesday thursday friday saturday sunday",
    "TOPIC": "weather news",
    "CITY": "london paris berlin",
    "TOWN": "madrid vienna boston",
    "MUSIC": "jazz rock piano",
}
TEMPLATES = (
    "PLEASE turn SWITCH the DEVICE in the ROOM WHEN",
    "turn SWITCH the ROOM DEVICE at ONES WHEN",
    "set the ROOM CLOCK for TENS ONES SPAN",
    "PLEASE call PERSON BEFORE ONES on DAY",
    "what's the TOPIC in CITY BEFORE ONES on DAY",
    "take the train from CITY to TOWN at ONES on DAY",
    "play MUSIC in the ROOM at ONES on DAY",
)

# A language and a variant of its timbre. No variant of the new voices is among those of training. They are voices of
# the ordinary kind: en-us+m8, strongly filtered, was left out after 62 % WER by a model with 2 % on known voices.
TRAIN_VOICES = (
    "en+m1", "en+m3", "en+f1", "en+f2",
    "en-us+m1", "en-us+m2", "en-us+f2", "en-us+f4",
    "en-gb-scotland+m3", "en-gb-scotland+m6", "en-gb-scotland+f1", "en-gb-scotland+f4",
    "en-gb-x-rp+m2", "en-gb-x-rp+m6", "en-gb-x-rp+f2", "en-gb-x-rp+f5",
)  # fmt: skip
NEW_VOICES = ("en+m4", "en-us+m7", "en-gb-x-rp+f3", "en-us+f3")

PITCH_RANGE = (35, 65)  # espeak's scale of 0..100 about the voice's own 50
WORDS_PER_MINUTE_RANGE = (155, 205)  # espeak's default is 175
LEVEL_DBFS_RANGE = (-23.0, -17.0)  # RMS of the whole clip, about the usual -20
SNR_DB_RANGE = (25.0, 40.0)  # a quiet room
PEAK_LIMIT = 0.9  # leaves room for the mp3 encoder's overshoot
SILENCE_THRESHOLD = 0.01  # of the peak, -40 dB: below it a clip's ends are trimmed
MARGIN_SECONDS = 0.15  # of silence left at either end
MP3_COMPRESSION_LEVEL = 0.5  # of 0..1: about 75 kbit/s, and a quarter faster than the default's 90


@dataclass(frozen=True)
class Split:
    """One CSV of the corpus."""

    name: str
    share: float  # of --utterances
    percent: tuple[int, int]  # of the grammar's sentences, shuffled; these do not overlap, so no two splits share one
    voices: tuple[str, ...]


SPLITS = (
    Split("cv-valid-train", 1.0, (15, 100), TRAIN_VOICES),
    Split("cv-valid-dev", 0.05, (0, 5), TRAIN_VOICES),
    Split("cv-valid-test", 0.075, (5, 10), TRAIN_VOICES),
    Split("cv-valid-voices", 0.0375, (10, 15), NEW_VOICES),
)
MIN_UTTERANCES = 20
MIN_SPLIT_UTTERANCES = 4  # of the small splits, however small the corpus


@dataclass(frozen=True)
class DemoOptions:
    """Makes a small spoken corpus in the shape of Common Voice v1, with no download."""

    out: str = setting("data/demo/corpus", help="folder to make; it must not exist yet")
    seed: int = setting(42, help="decides the sentences, voices, pitches and speeds")
    utterances: int = setting(4000, help=f"training clips, at least {MIN_UTTERANCES}; the other splits scale with it")
    workers: int | None = setting(None, help="processes; by default one a usable core")


@dataclass(frozen=True)
class Utterance:
    """What is said in one clip, and how."""

    split: str
    number: int
    text: str
    voice: str  # espeak-ng's language+variant
    pitch: int
    words_per_minute: int
    level_dbfs: float
    snr_db: float
    noise_seed: int

    @property
    def filename(self) -> str:
        """The clip's path below the corpus, as its CSV names it."""
        return f"{self.split}/sample-{self.number:06d}.mp3"


def sentences() -> list[str]:
    """Every sentence of the grammar, once, in a fixed order; made of a-z, apostrophe and space only."""
    found: dict[str, None] = {}
    for template in TEMPLATES:
        for words in product(*(SLOTS.get(word, word).split() for word in template.split())):
            found[" ".join(word for word in words if word != "-")] = None
    return list(found)


def plan_corpus(seed: int, utterances: int) -> list[Utterance]:
    """Chooses what every clip of the corpus says, and how.

    Args:
        seed: Decides everything that varies.
        utterances: The number of training clips; the other splits get their share of it, four at least.

    Returns:
        The clips, split by split, in the order of their numbers. Within a split no sentence comes twice
        before all of the split's sentences have come once.
    """
    order = sorted(sentences(), key=lambda text: hashlib.sha256(f"{seed} {text}".encode()).digest())
    planned: list[Utterance] = []
    for split in SPLITS:
        first, end = (len(order) * percent // 100 for percent in split.percent)
        count = max(MIN_SPLIT_UTTERANCES, round(utterances * split.share))
        for number in range(count):
            chosen = random.Random(f"{seed} {split.name} {number}")  # text seeds are hashed: the same on any machine
            planned.append(
                Utterance(
                    split=split.name,
                    number=number,
                    text=order[first + number % (end - first)],
                    voice=split.voices[number % len(split.voices)],
                    pitch=chosen.randint(*PITCH_RANGE),
                    words_per_minute=chosen.randint(*WORDS_PER_MINUTE_RANGE),
                    level_dbfs=chosen.uniform(*LEVEL_DBFS_RANGE),
                    snr_db=chosen.uniform(*SNR_DB_RANGE),
                    noise_seed=chosen.getrandbits(32),
                )
            )
    return planned


@cache  # espeak-ng has one state a process: it is initialised once, at the process's first clip
def _espeak() -> Callable[[Utterance], tuple[npt.NDArray[np.int16], int]]:
    """Starts espeak-ng; returns the function that speaks an utterance: samples (T,) and their rate in Hz."""
    import espeakng_loader  # an optional extra

    # Numbers are those of espeak-ng's speak_lib.h. Synchronous output calls back from within espeak_Synth:
    # ten times faster here than retrieval mode, whose thread is polled every 20 ms.
    audio_output_synchronous, initialize_dont_exit, pos_character, chars_utf8 = 2, 0x8000, 1, 1
    parameter_rate, parameter_pitch = 1, 3
    data_path = espeakng_loader.get_data_path()
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate_hz: int = library.espeak_Initialize(audio_output_synchronous, 0, data_path.encode(), initialize_dont_exit)
    if rate_hz <= 0:
        raise RuntimeError(f"espeak-ng does not start with the data in {data_path}")
    pieces: list[bytes] = []

    def collect(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(collect)

    def speak(utterance: Utterance) -> tuple[npt.NDArray[np.int16], int]:
        pieces.clear()
        library.espeak_SetSynthCallback(callback)  # set here, where it also keeps `callback` from being collected
        text = utterance.text.encode() + b"\0"
        size, start, end = ctypes.c_size_t(len(text)), 0, 0
        failed = (
            library.espeak_SetVoiceByName(utterance.voice.encode())
            or library.espeak_SetParameter(parameter_pitch, utterance.pitch, 0)
            or library.espeak_SetParameter(parameter_rate, utterance.words_per_minute, 0)
            or library.espeak_Synth(text, size, start, pos_character, end, chars_utf8, None, None)
            or library.espeak_Synchronize()
        )
        if failed:
            raise RuntimeError(f"espeak-ng cannot speak '{utterance.text}' as {utterance.voice} (error {failed})")
        return np.frombuffer(b"".join(pieces), dtype=np.int16), rate_hz

    return speak


def record(utterance: Utterance) -> Waveform:
    """Speaks `utterance` into a quiet room.

    Returns:
        (T,) at 48 kHz, its ends trimmed to 0.15 s of background noise, its peak below 1.

    Raises:
        RuntimeError: espeak-ng refused, or made no sound.
    """
    samples, rate_hz = _espeak()(utterance)
    speech: Waveform = soxr.resample(samples.astype(np.float32) / PCM_SCALE, rate_hz, CLIP_RATE_HZ)
    loud = np.flatnonzero(np.abs(speech) > SILENCE_THRESHOLD * np.abs(speech).max(initial=0.0))
    if not loud.size:
        raise RuntimeError(f"espeak-ng made no sound for '{utterance.text}' as {utterance.voice}")
    speech = np.pad(speech[loud[0] : loud[-1] + 1], round(MARGIN_SECONDS * CLIP_RATE_HZ))
    noise = np.random.default_rng(utterance.noise_seed).standard_normal(speech.size, dtype=np.float32)
    speech_rms = float(np.sqrt(np.mean(np.square(speech))))
    noisy = speech + noise * (speech_rms * 10 ** (-utterance.snr_db / 20))
    gain = min(10 ** (utterance.level_dbfs / 20) / speech_rms, PEAK_LIMIT / float(np.abs(noisy).max()))
    return (noisy * gain).astype(np.float32)


def _write_clip(folder: Path, utterance: Utterance) -> float:
    """Records `utterance` into its mp3 below `folder`; returns the duration in seconds of what was written."""
    path = folder / utterance.filename
    soundfile.write(path, record(utterance), CLIP_RATE_HZ, format="MP3", compression_level=MP3_COMPRESSION_LEVEL)
    return float(soundfile.info(path).duration)


def _row(utterance: Utterance, duration_seconds: float) -> dict[str, object]:
    return {
        "filename": utterance.filename,
        "text": utterance.text,
        "up_votes": 1,
        "down_votes": 0,
        "age": "",
        "gender": "female" if "+f" in utterance.voice else "male",
        "accent": utterance.voice,
        "duration": f"{duration_seconds:.3f}",
    }


def _write_corpus(folder: Path, planned: Sequence[Utterance], workers: int) -> float:
    """Fills `folder` with clips and CSVs; returns the seconds of audio."""
    for split in SPLITS:
        (folder / split.name).mkdir(parents=True)
    durations: list[float] = []
    context = multiprocessing.get_context("spawn")  # a fork would share the parent's espeak state and locks
    with (
        ProcessPoolExecutor(workers, mp_context=context) as pool,
        progress(len(planned), "speaking", "clips") as bar,
    ):
        for duration_seconds in pool.map(partial(_write_clip, folder), planned, chunksize=8):
            durations.append(duration_seconds)
            bar.advance()
    for split in SPLITS:
        with (folder / f"{split.name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            clips = zip(planned, durations, strict=True)
            writer.writerows(_row(utterance, seconds) for utterance, seconds in clips if utterance.split == split.name)
    return sum(durations)


def _is_made(out: Path, options: dict[str, int]) -> bool:
    """Whether `out` already is this corpus; raises CliError where it is anything else."""
    if not os.path.lexists(out):
        return False
    try:
        made = json.loads((out / CORPUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CliError(f"--out {out} exists and is no demo corpus: choose another --out") from None
    if made != options:
        raise CliError(f"--out {out} holds another demo corpus, {json.dumps(made)}: choose another --out or remove it")
    return True


def _next_command(out: Path) -> str:
    tables = ",".join(f"{split.name.removeprefix('cv-valid-')}={out}/{split.name}.csv" for split in SPLITS)
    return (
        f"python -m asrscale.shard --csv {tables.replace('dev=', 'valid=')} --audio_root {out} --out data/demo/shards"
    )


def make_corpus(options: DemoOptions) -> None:
    """Makes the corpus that `options` ask for, whole or not at all; does nothing where it is already made.

    Raises:
        CliError: A bad flag, an `out` that is something else, or espeakng-loader is not installed.
    """
    workers = len(os.sched_getaffinity(0)) if options.workers is None else options.workers
    if options.utterances < MIN_UTTERANCES:
        raise CliError(f"--utterances {options.utterances}: give at least {MIN_UTTERANCES}")
    if workers < 1:
        raise CliError(f"--workers {workers}: give at least 1")
    out = Path(options.out)
    made = {"corpus_version": CORPUS_VERSION, "seed": options.seed, "utterances": options.utterances}
    if _is_made(out, made):
        print(f"{out} is already made, with these options\nnext: {_next_command(out)}")
        return
    if importlib.util.find_spec("espeakng_loader") is None:
        raise CliError("the demo corpus needs espeakng-loader: pip install 'asrscale[demo]'")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise CliError(f"--out {out} cannot be made: {error.strerror}") from None
    planned = plan_corpus(options.seed, options.utterances)
    with scratch:
        whole = Path(scratch.name) / out.name
        seconds = _write_corpus(whole, planned, workers)
        (whole / CORPUS_FILE).write_text(json.dumps(made) + "\n", encoding="utf-8")
        whole.rename(out)
    voices = len({utterance.voice for utterance in planned})
    print(f"{len(planned):,} clips, {seconds / 3600:.2f} hours, {voices} voices in {out}\nnext: {_next_command(out)}")


if __name__ == "__main__":
    cli.main(DemoOptions, make_corpus)
