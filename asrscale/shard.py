"""Recordings and transcripts to WebDataset shards: `python -m asrscale.shard --csv FILE --out DIR`.

Audio is decoded, resampled and checked once, here, so that training never is. The output depends on the input and the
options alone, byte for byte, and not on the number of workers or of interruptions. Imports no torch.
"""

import json
import os
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np

from asrscale import cli
from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.cli import setting
from asrscale.config import write_json
from asrscale.errors import CliError
from asrscale.index import DATASET_FILE, INDEX_FILE, SCHEMA_VERSION, read_index, write_index
from asrscale.pack import Part, Task, build_shards
from asrscale.sources import Row, read_csv, split_by_sentence
from asrscale.text import NORMALISATION_STEPS

REJECTED_FILE = "rejected.jsonl"
PROBED_ROWS = 1_000  # of each split are looked for before anything is decoded: a wrong audio root misses nearly all
EXIT_INTERRUPTED = 130  # what shells report for Ctrl-C
HISTOGRAM_BINS, HISTOGRAM_WIDTH = 10, 40


@dataclass(frozen=True)
class ShardOptions:
    """Builds WebDataset shards of 16 kHz FLAC from a CSV with the columns filename and text."""

    csv: tuple[str, ...] = setting(help="a CSV, split by sentence into train and valid; or train=FILE,valid=FILE,…")
    out: str = setting(help="folder to build in: a folder a split, and rejected.jsonl")
    audio_root: str | None = setting(None, help="folder that file names in the CSV start from; by default the CSV's")
    valid_fraction: float = setting(0.3, help="share of the sentences for valid where the CSV is split; 0: train only")
    seed: int = setting(42, help="decides the split, and what goes into which shard")
    min_seconds: float = setting(0.1, help="shorter clips are rejected")
    max_seconds: float = setting(20.0, help="longer clips are rejected, never cut")
    shard_utterances: int = setting(1000, help="rows a shard, before rejects")
    workers: int | None = setting(None, help="processes; by default one a usable core")


@dataclass(frozen=True)
class Split:
    """A data set folder to be, with all that its bytes depend on except the recordings themselves."""

    folder: Path
    rows: list[Row]
    audio_root: str
    settings: dict[str, Any]


def build(options: ShardOptions) -> int | None:
    """Builds every split that is not there yet and prints a summary.

    Raises:
        CliError: Bad options or input, a folder built with other options, or a split that has no utterance.
    """
    started_seconds = time.monotonic()
    splits = _plan(options)
    todo = [split for split in splits if not _is_built(split)]
    for split in todo:
        _check_recordings(split)
    try:
        if todo:
            _build_splits(todo, options)
    except KeyboardInterrupt:
        print(f"interrupted: run the same command again to finish {options.out}", file=sys.stderr)
        return EXIT_INTERRUPTED
    _print_summary(splits)
    clips, seconds = sum(len(split.rows) for split in todo), time.monotonic() - started_seconds
    if todo:
        print(f"{clips:,} clips in {seconds:.1f} s: {clips / seconds:,.0f} clips/s")
    return None


def _plan(options: ShardOptions) -> list[Split]:
    """Checks the options, reads the CSVs and deals their rows to splits."""
    if not 0 <= options.valid_fraction < 1:
        raise CliError(f"--valid_fraction {options.valid_fraction}: give a number from 0 to below 1")
    if not 0 < options.min_seconds < options.max_seconds:
        raise CliError(f"--min_seconds {options.min_seconds}: give more than 0 and less than --max_seconds")
    for name, number in (("shard_utterances", options.shard_utterances), ("workers", options.workers)):
        if number is not None and number < 1:
            raise CliError(f"--{name} {number}: give 1 or more")
    named = [re.fullmatch(r"(?:([a-z0-9_-]{1,64})=)?(.+)", part) for part in options.csv]
    files = {match[1]: match[2] for match in named if match}
    if len(files) != len(options.csv) or (None in files and len(files) > 1):
        raise CliError("--csv: give one file, or several as train=FILE,valid=FILE with each name once")
    splits = []
    for name, path in files.items():
        dealt: dict[str, list[Row]] = {}
        for row in read_csv(path):
            split = name or split_by_sentence(row.text, options.seed, options.valid_fraction)
            dealt.setdefault(split, []).append(row)
        if not name and len(dealt) != (2 if options.valid_fraction else 1):
            cure = "give another --valid_fraction, 0 for train only, or named CSV files"
            raise CliError(f"--valid_fraction {options.valid_fraction} leaves no row of {path} for a split: {cure}")
        folder = os.path.dirname(path) or "."
        root = options.audio_root or folder
        settings = {
            "csv_sha256": sha256(Path(path).read_bytes()).hexdigest(),
            "audio_root_from_csv": os.path.relpath(root, folder),
            "valid_fraction": None if name else options.valid_fraction,
            **{key: getattr(options, key) for key in ("seed", "min_seconds", "max_seconds", "shard_utterances")},
        }
        splits += [Split(Path(options.out, split), dealt[split], root, settings) for split in sorted(dealt)]
    return splits


def _is_built(split: Split) -> bool:
    """Whether the folder is whole and made by these settings; raises CliError where it was made by others."""
    try:
        found = json.loads((split.folder / DATASET_FILE).read_bytes())["options"]
        changed = sorted({key for key, _ in found.items() ^ split.settings.items()})
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        changed = [f"{DATASET_FILE} is damaged: {error!r}"]
    if changed:
        cure = "give another --out or delete the folder"
        raise CliError(f"{split.folder} was built with other options or input ({', '.join(changed)}): {cure}")
    try:
        read_index([str(split.folder)])
    except CliError as error:
        print(f"building {split.folder} again: {error}", file=sys.stderr)
        return False
    print(f"{split.folder}: already built")
    return True


def _check_recordings(split: Split) -> None:
    """Raises CliError where most of the recordings are not there, as when the audio root is wrong."""
    probed = split.rows[:: -(-len(split.rows) // PROBED_ROWS)]
    missing = [row for row in probed if not os.path.exists(os.path.join(split.audio_root, row.audio))]
    if 2 * len(missing) > len(probed):
        row = missing[0]
        raise CliError(
            f"{row.source} line {row.line}: no file {os.path.join(split.audio_root, row.audio)} ({len(missing):,} of "
            f"{len(probed):,} files looked for are missing): set --audio_root to the folder that '{row.audio}' is in"
        )


def _build_splits(splits: list[Split], options: ShardOptions) -> None:
    """Builds every shard of the splits, then lists the rejects, then makes the folders whole."""
    for split in splits:
        try:
            split.folder.mkdir(parents=True, exist_ok=True)
            (split.folder / DATASET_FILE).unlink(missing_ok=True)  # from here on the folder is not whole
        except OSError as error:
            raise CliError(f"--out {split.folder}: {error.strerror}: give a folder that can be written to") from error
    tasks = [task for split in splits for task in _tasks(split, options)]
    built: dict[str, list[Part]] = {}
    for task, part in zip(tasks, build_shards(tasks, options.workers), strict=True):
        built.setdefault(task.split, []).append(part)
    _write_rejected(Path(options.out, REJECTED_FILE), built)
    for split in splits:
        _finish(split, built[split.folder.name])


def _tasks(split: Split, options: ShardOptions) -> list[Task]:
    """Cuts a seeded permutation of the rows into shards; decided before decoding, so that no reject moves a row."""
    name, size = split.folder.name, options.shard_utterances
    salt = f"{options.seed} {name}"
    rows = sorted(split.rows, key=lambda row: blake2b(f"{salt} {row.line}".encode(), digest_size=16).digest())
    limits = (split.audio_root, options.min_seconds, options.max_seconds)
    return [
        Task(str(split.folder / f"{name}-{start // size:06d}.tar"), name, tuple(rows[start : start + size]), *limits)
        for start in range(0, len(rows), size)
    ]


def _write_rejected(path: Path, built: dict[str, list[Part]]) -> None:
    """Replaces the rejects of the splits just built; those of other splits in the same folder stay."""
    before = path.read_bytes().splitlines() if path.exists() else []
    rejects = [reject for reject in map(json.loads, before) if reject["split"] not in built]
    rejects += [reject for parts in built.values() for part in parts for reject in part["rejects"]]
    rejects.sort(key=lambda reject: (reject["split"], reject["line"]))
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in rejects), "utf-8")
    temporary.replace(path)


def _finish(split: Split, parts: list[Part]) -> None:
    """Writes index.parquet, then dataset.json, which makes the folder whole; removes what else builds left there."""
    name, source = split.folder.name, split.rows[0].source
    utterances = [utterance for part in parts for utterance in part["utterances"]]
    rejected = dict(sorted(Counter(reject["reason"] for part in parts for reject in part["rejects"]).items()))
    if not utterances:
        listed = split.folder.parent / REJECTED_FILE
        raise CliError(f"every row of {source} for {name} was rejected ({_counts(rejected)}): see {listed}")
    write_index(split.folder / INDEX_FILE, [part["utterances"] for part in parts])
    dataset = {
        "schema_version": SCHEMA_VERSION,
        "source": source,
        "options": split.settings,
        "normalisation": NORMALISATION_STEPS,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "rows": len(split.rows),
        "utterances": len(utterances),
        "hours": sum(utterance["num_samples"] for utterance in utterances) / SAMPLE_RATE_HZ / 3600,
        "rejected": rejected,
        "characters": dict(sorted(Counter("".join(utterance["text"] for utterance in utterances)).items())),
        "shards": [part["shard"] for part in parts],
    }
    write_json(split.folder / DATASET_FILE, dataset)
    for path in {*split.folder.glob(f"{name}-[0-9]*.tar*")} - {split.folder / part["shard"]["file"] for part in parts}:
        path.unlink()


def _print_summary(splits: list[Split]) -> None:
    """Tells a person what is in the folders, read back from them."""
    sentences: dict[str, set[str]] = {}
    for split in splits:
        index = read_index([str(split.folder)])
        dataset = json.loads((split.folder / DATASET_FILE).read_bytes())
        rejected, characters, shards = dataset["rejected"], dataset["characters"], dataset["shards"]
        megabytes = sum(shard["bytes"] for shard in shards) / 1e6
        print(
            f"{split.folder}: {len(index):,} utterances, {index.hours:.2f} h, {len(shards)} shards, {megabytes:,.1f} MB"
        )
        print(f"  rejected: {sum(rejected.values()):,} of {dataset['rows']:,} rows  {_counts(rejected)}".rstrip())
        print(f"  characters: {len(characters)}  {''.join(characters)!r}")
        seconds = index.num_samples / SAMPLE_RATE_HZ
        counts, edges = np.histogram(seconds, HISTOGRAM_BINS, (0, np.ceil(seconds.max())))
        for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
            bar = "#" * round(HISTOGRAM_WIDTH * count / counts.max())
            print(f"  {start:5.1f} to {end:5.1f} s {count:8,} {bar}".rstrip())
        sentences[split.folder.name] = set(index.texts.to_pylist())
    train = sentences.pop("train", set())
    for name, others in sentences.items():
        if shared := len(train & others):
            print(f"warning: {shared:,} sentences of {name} are in train too: errors on {name} will look too few")
    if train and sentences:
        print(f"sentences shared between train and others: {len(train & set().union(*sentences.values())):,}")


def _counts(rejected: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in rejected.items())


if __name__ == "__main__":
    cli.run(ShardOptions, build)
