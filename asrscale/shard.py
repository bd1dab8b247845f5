"""Recordings and transcripts to WebDataset shards: `python -m asrscale.shard --csv FILE --out DIR`.

Audio is decoded, resampled and checked once, here, so that training never is. The output depends on the input and the
options alone, byte for byte, and not on the number of workers. Imports no torch.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asrscale import cli
from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.cli import setting
from asrscale.errors import CliError
from asrscale.index import DATASET_FILE, INDEX_FILE, SCHEMA_VERSION, Index, Record, read_index, write_index
from asrscale.pack import Shard, Task, build_shards
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
    """The rows of one data set folder, with all that its bytes depend on except the recordings themselves."""

    name: str
    rows: tuple[Row, ...]
    audio_root: str
    settings: dict[str, Any]


def build(options: ShardOptions) -> int | None:
    """Builds every split that is not there yet and prints a summary.

    Raises:
        CliError: Bad options or input, a folder built with other options, or a split that has no utterance.
    """
    splits = _plan(options)
    todo = [split for split in splits if not _is_built(split, options.out)]
    for split in todo:
        _check_recordings(split)
    started_seconds = time.monotonic()
    if todo:
        try:
            _build_splits(todo, options)
        except KeyboardInterrupt:
            print(f"interrupted: run the same command again to finish {options.out}", file=sys.stderr)
            return EXIT_INTERRUPTED
    _print_summary(splits, [split.name for split in todo], options.out, time.monotonic() - started_seconds)
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
    if os.path.exists(options.out) and not os.path.isdir(options.out):
        raise CliError(f"--out {options.out}: is a file: give a folder")
    splits = []
    for name, path in files.items():
        rows = read_csv(path)
        root = options.audio_root or os.path.dirname(path) or "."
        if not os.path.isdir(root):
            raise CliError(f"--audio_root {root}: no such folder: give the one that file names in {path} start from")
        settings = {
            "csv_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
            "audio_root_from_csv": os.path.relpath(root, os.path.dirname(path) or "."),
            "valid_fraction": options.valid_fraction if name is None else None,
            "seed": options.seed,
            "min_seconds": options.min_seconds,
            "max_seconds": options.max_seconds,
            "shard_utterances": options.shard_utterances,
        }
        splits += [Split(*part, root, settings) for part in _split(name, rows, options)]
    return splits


def _split(name: str | None, rows: list[Row], options: ShardOptions) -> list[tuple[str, tuple[Row, ...]]]:
    """The rows as they are under a given name, or dealt to train and valid by sentence."""
    if name is not None:
        return [(name, tuple(rows))]
    dealt: dict[str, list[Row]] = {"train": [], "valid": []} if options.valid_fraction else {"train": []}
    for row in rows:
        dealt[split_by_sentence(row.text, options.seed, options.valid_fraction)].append(row)
    for split, part in dealt.items():
        if not part:
            raise CliError(
                f"--valid_fraction {options.valid_fraction} leaves no row of {rows[0].source} for {split}: "
                "give another fraction, 0 for train only, or named CSV files"
            )
    return [(split, tuple(part)) for split, part in dealt.items()]


def _is_built(split: Split, out: str) -> bool:
    """Whether the folder is whole and made by these settings; raises CliError where it was made by others."""
    path = Path(out, split.name, DATASET_FILE)
    if not path.exists():
        return False
    try:
        found = json.loads(path.read_bytes())["options"]
        changed = sorted(
            key for key in split.settings.keys() | found.keys() if split.settings.get(key) != found.get(key)
        )
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise CliError(f"{path}: cannot be read ({error!r}): delete the folder or give another --out") from error
    if changed:
        raise CliError(
            f"{path.parent} was built with other options or input ({', '.join(changed)}): "
            "give another --out or delete the folder"
        )
    try:
        read_index([str(path.parent)])
    except CliError as error:
        print(f"building {path.parent} again: {error}", file=sys.stderr)
        return False
    print(f"{path.parent}: already built")
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
    tasks = {split.name: _tasks(split, options) for split in splits}
    for split in splits:
        _clear(Path(options.out, split.name), split.name)
    shards = iter(build_shards([task for part in tasks.values() for task in part], options.workers))
    built = {name: [next(shards) for _ in part] for name, part in tasks.items()}
    rejected = Path(options.out, REJECTED_FILE)
    _write_rejected(rejected, built)
    for split in splits:
        if not any(shard.records for shard in built[split.name]):
            reasons = _counts(_reasons(built[split.name]))
            raise CliError(
                f"every row of {split.rows[0].source} for {split.name} was rejected ({reasons}): see {rejected}"
            )
    for split in splits:
        _finish(split, Path(options.out, split.name), built[split.name])


def _tasks(split: Split, options: ShardOptions) -> list[Task]:
    """Cuts a seeded permutation of the rows into shards; decided before decoding, so that no reject moves a row."""

    def rank(row: Row) -> bytes:
        return hashlib.blake2b(f"{options.seed} {split.name} {row.line}".encode(), digest_size=16).digest()

    rows, size = sorted(split.rows, key=rank), options.shard_utterances
    return [
        Task(
            path=os.path.join(options.out, split.name, f"{split.name}-{start // size:06d}.tar"),
            split=split.name,
            rows=tuple(rows[start : start + size]),
            audio_root=split.audio_root,
            min_seconds=options.min_seconds,
            max_seconds=options.max_seconds,
        )
        for start in range(0, len(rows), size)
    ]


def _clear(folder: Path, split: str) -> None:
    """Makes the folder and removes what an interrupted build left, as far as we write such names."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (DATASET_FILE, INDEX_FILE):  # dataset.json first: from here on the folder is not whole
            (folder / name).unlink(missing_ok=True)
        for path in folder.glob(f"{split}-[0-9]*.tar*"):
            path.unlink()
    except OSError as error:
        raise CliError(f"--out {folder}: {error.strerror}: give a folder that can be written to") from error


def _write_rejected(path: Path, built: dict[str, list[Shard]]) -> None:
    """Replaces the rejects of the splits just built; those of other splits in the same folder stay."""
    rejects: list[dict[str, Any]] = []
    if path.exists():
        with path.open(encoding="utf-8") as file:
            rejects += (reject for reject in map(json.loads, file) if reject["split"] not in built)
    rejects += [reject for shards in built.values() for shard in shards for reject in shard.rejects]
    rejects.sort(key=lambda reject: (reject["split"], reject["line"]))
    _write_text(path, "".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in rejects))


def _finish(split: Split, folder: Path, shards: list[Shard]) -> None:
    """Writes index.parquet and then dataset.json, which makes the folder whole."""
    write_index(folder / INDEX_FILE, [shard.records for shard in shards])
    records = [record for shard in shards for record in shard.records]
    dataset = {
        "schema_version": SCHEMA_VERSION,
        "source": split.rows[0].source,
        "options": split.settings,
        "normalisation": NORMALISATION_STEPS,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "rows": len(split.rows),
        "utterances": len(records),
        "hours": _seconds(records) / 3600,
        "rejected": dict(sorted(_reasons(shards).items())),
        "characters": dict(sorted(Counter("".join(record.text for record in records)).items())),
        "shards": [
            {
                "file": f"{split.name}-{number:06d}.tar",
                "bytes": shard.bytes,
                "sha256": shard.sha256,
                "utterances": len(shard.records),
                "seconds": _seconds(shard.records),
            }
            for number, shard in enumerate(shards)
        ],
    }
    _write_text(folder / DATASET_FILE, json.dumps(dataset, ensure_ascii=False, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)


def _seconds(records: list[Record]) -> float:
    return sum(record.num_samples for record in records) / SAMPLE_RATE_HZ


def _reasons(shards: list[Shard]) -> Counter[str]:
    return Counter(reject["reason"] for shard in shards for reject in shard.rejects)


def _print_summary(splits: list[Split], todo: list[str], out: str, elapsed_seconds: float) -> None:
    """Tells a person what is in the folders, read back from them."""
    indexes = {split.name: read_index([os.path.join(out, split.name)]) for split in splits}
    for name, index in indexes.items():
        _print_split(os.path.join(out, name), index)
    sentences = {name: set(index.texts.to_pylist()) for name, index in indexes.items()}
    if "train" in sentences and len(sentences) > 1:
        train = sentences.pop("train")
        for name, others in sentences.items():
            if count := len(train & others):
                print(f"warning: {count:,} sentences of {name} are in train too: errors on {name} will look too few")
        print(f"sentences shared between splits: {len(train & set().union(*sentences.values())):,}")
    if todo:
        clips = sum(len(split.rows) for split in splits if split.name in todo)
        speed = sum(indexes[name].hours for name in todo) * 3600 / elapsed_seconds
        rate = clips / elapsed_seconds
        print(f"{clips:,} clips in {elapsed_seconds:.1f} s: {rate:,.0f} clips/s, {speed:,.0f} x real time")


def _print_split(folder: str, index: Index) -> None:
    """Utterances, hours, shards, rejects, characters and lengths of one data set folder."""
    dataset = json.loads(Path(folder, DATASET_FILE).read_bytes())
    shards, rejected = dataset["shards"], dataset["rejected"]
    megabytes = sum(shard["bytes"] for shard in shards) / 1e6
    print(f"{folder}: {len(index):,} utterances, {index.hours:.2f} h, {len(shards):,} shards, {megabytes:,.1f} MB")
    print(f"  rejected: {sum(rejected.values()):,} of {dataset['rows']:,} rows  {_counts(rejected)}".rstrip())
    print(f"  characters: {len(dataset['characters'])}  {''.join(dataset['characters'])!r}")
    seconds = index.num_samples / SAMPLE_RATE_HZ
    counts, edges = np.histogram(seconds, HISTOGRAM_BINS, (0, np.ceil(seconds.max())))
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        bar = "#" * round(HISTOGRAM_WIDTH * count / counts.max())
        print(f"  {start:5.1f} to {end:5.1f} s {count:8,} {bar}".rstrip())


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))


if __name__ == "__main__":
    cli.main(ShardOptions, build)
