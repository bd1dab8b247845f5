"""Makes the demo's corpus on the spot: espeak-ng voices read a small grammar of commands.

It has the shape of Common Voice v1: a CSV for each split beside folders of 48 kHz mp3s. What is spoken, by whom and how
is always the same for a seed (see `demo_plan`); the audio's bytes are not.
"""

import csv
import importlib.util
import json
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from asrscale.common.errors import CliError
from asrscale.common.progress import Progress, progress
from asrscale.corpus.demo_clip import record_clip
from asrscale.corpus.demo_plan import (
    CORPUS_VERSION,
    MIN_UTTERANCES,
    NEW_VOICES,
    SPLITS,
    TRAIN_VOICES,
    Utterance,
    plan_corpus,
)

NOTE_FILE = "corpus.json"  # written last; holds the options that the corpus was made with


HEADER = ("filename", "text", "up_votes", "down_votes", "age", "gender", "accent", "duration")


CLIPS_AT_ONCE = 8  # that a worker takes


def make_corpus(out_folder: str, *, seed: int, utterances: int, workers: int) -> None:
    """Makes the corpus in `out_folder`, whole or not at all, unless it is already made.

    Raises:
        CliError: A bad flag, an `out` that is something else or cannot be made, or espeakng-loader is not installed.
    """
    _check_least("utterances", utterances, MIN_UTTERANCES)
    _check_least("workers", workers, 1)
    out = Path(out_folder)
    options = {"corpus_version": CORPUS_VERSION, "seed": seed, "utterances": utterances}
    note = json.dumps(options) + "\n"

    if _is_made(out, note):
        print(f"{out} is already made, with these options")
        _print_next_command(out)
        return
    if os.path.lexists(out):
        raise CliError(f"--out {out} exists and is no demo corpus of these options: choose another --out")
    if importlib.util.find_spec("espeakng_loader") is None:
        raise CliError("the demo corpus needs espeakng-loader: pip install 'asrscale[demo]'")

    with _scratch_folder_beside(out) as scratch:
        planned = plan_corpus(seed, utterances)
        whole = Path(scratch) / out.name
        _record_all(whole, planned, workers)
        (whole / NOTE_FILE).write_bytes(note.encode())
        whole.rename(out)
    num_voices = len(TRAIN_VOICES) + len(NEW_VOICES)
    print(f"{len(planned):,} clips, {num_voices} voices in {out}")
    _print_next_command(out)


def _check_least(flag: str, value: int, least: int) -> None:
    """Raises CliError for a flag whose value is below `least`."""
    if value < least:
        raise CliError(f"--{flag} {value}: give at least {least}")


def _is_made(out: Path, note: str) -> bool:
    """Whether the folder is a whole corpus with this note."""
    note_file = out / NOTE_FILE
    return note_file.is_file() and note_file.read_bytes() == note.encode()


def _print_next_command(out: Path) -> None:
    """Prints the command that makes shards of the corpus."""
    tables = ",".join(f"{split.shards}={out}/{split.folder}.csv" for split in SPLITS)
    print(f"next: python -m asrscale.shard --csv {tables} --audio_root {out} --out data/demo/shards")


def _scratch_folder_beside(out: Path) -> "tempfile.TemporaryDirectory[str]":
    """Returns a new folder on the same file system as `out`, from where the corpus can be moved there at once."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise CliError(f"--out {out} cannot be made: {error.strerror}") from None


def _record_all(folder: Path, planned: list[Utterance], workers: int) -> None:
    """Writes the clips and the CSV of every split to `folder`."""
    spawn = multiprocessing.get_context("spawn")  # a fork would share the parent's espeak-ng state and locks
    with ProcessPoolExecutor(workers, spawn) as pool, progress(len(planned), "speaking", "clips") as bar:
        for split in SPLITS:
            of_split = [utterance for utterance in planned if utterance.split == split.folder]
            _record_split(folder, split.folder, of_split, pool, bar)


def _record_split(
    folder: Path, split: str, utterances: list[Utterance], pool: ProcessPoolExecutor, bar: Progress
) -> None:
    """Writes the clips of one split to `folder`/`split`, and its CSV beside that."""
    (folder / split).mkdir(parents=True)
    durations = pool.map(partial(record_clip, folder), utterances, chunksize=CLIPS_AT_ONCE)
    with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEADER)
        for utterance, duration_seconds in zip(utterances, durations, strict=True):
            table.writerow(_csv_fields(utterance, duration_seconds))
            bar.advance()


def _csv_fields(utterance: Utterance, duration_seconds: float) -> tuple[str, ...]:
    """Returns the fields of a clip, in the order of HEADER."""
    up_votes = "1"
    down_votes = "0"
    age = ""
    gender = "female" if "+f" in utterance.voice else "male"
    accent = utterance.voice
    duration = f"{duration_seconds:.3f}"
    return utterance.filename, utterance.text, up_votes, down_votes, age, gender, accent, duration
