"""What data set folders record about their shards (dataset.json), read without opening an index.

Shape legend: S shards.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote, read_bytes
from asrscale.speech.normalisation import NORMALISATION_STEPS
from asrscale.speech.pcm import SAMPLE_RATE_HZ

SCHEMA_VERSION = 1  # of index.parquet and dataset.json together


INDEX_FILE = "index.parquet"


DATASET_FILE = "dataset.json"  # written last: a folder that has it is whole


REBUILD = "build the folder again with asrscale.shard"


@dataclass(frozen=True, eq=False)
class Catalog:
    """What data set folders say of themselves, shard by shard: enough to plan a run without reading an index."""

    shards: tuple[str, ...]  # (S,) absolute paths or URLs; the shard numbers of an Index are positions in it
    shard_bytes: npt.NDArray[np.int64]  # (S,) the size of each
    utterances: npt.NDArray[np.int64]  # (S,) how many each holds
    samples: npt.NDArray[np.int64]  # (S,) their length together, at 16 kHz
    longest_samples: npt.NDArray[np.int64]  # (S,) the length of the longest
    # (S,) where its rows stand in the index.parquet beside it; -1 for a shard without any
    row_groups: npt.NDArray[np.int64]
    characters: Counter[str]  # counts of the characters of all transcripts
    footers: dict[str, pq.FileMetaData] = field(default_factory=dict)  # of each index.parquet read so far, parsed once

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.samples.sum()) / SAMPLE_RATE_HZ / 3600


def read_catalog(folders: Sequence[str]) -> Catalog:
    """Reads what data set folders say of themselves, joined in the order given; opens no shard and no index.

    Raises:
        CliError: A folder, index or shard is missing, dataset.json is damaged or of an unknown schema version, or
            nothing is in it.
    """
    paths: list[str] = []
    sums: list[tuple[int, ...]] = []
    characters: Counter[str] = Counter()
    for folder in (folder.rstrip("/") if is_remote(folder) else os.path.abspath(folder) for folder in folders):
        names, own_sums, own_characters = _read_dataset(folder)
        characters.update(own_characters)
        paths += [os.path.join(folder, name) for name in names]
        groups = accumulate((one[1] > 0 for one in own_sums), initial=0)
        sums += [(*one, group if one[1] else -1) for one, group in zip(own_sums, groups, strict=False)]
    shard_bytes, utterances, samples, longest_samples, row_groups = np.array(sums, np.int64).T
    return Catalog(tuple(paths), shard_bytes, utterances, samples, longest_samples, row_groups, characters)


def _read_dataset(folder: str) -> tuple[list[str], list[tuple[int, ...]], Counter[str]]:
    """What a folder's dataset.json says of its shards: names; bytes, utterances, samples and longest; characters."""
    try:
        dataset: dict[str, Any] = json.loads(_read_file(folder, DATASET_FILE))
        if (version := dataset["schema_version"]) != SCHEMA_VERSION:
            raise CliError(f"{folder}: schema version {version}, this asrscale reads {SCHEMA_VERSION}: {REBUILD}")
        if tuple(dataset.get("normalisation", NORMALISATION_STEPS)) != NORMALISATION_STEPS:
            raise CliError(f"{folder}: its transcripts were normalised otherwise than asrscale does now: {REBUILD}")
        names = [str(shard["file"]) for shard in dataset["shards"]]
        counted = ("bytes", "utterances", "samples", "longest_samples")
        sums = [tuple(int(shard[name]) for name in counted) for shard in dataset["shards"]]
        characters = Counter[str](dataset["characters"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())
        raise CliError(f"{folder}: {DATASET_FILE} is damaged ({why}): {REBUILD}") from error
    if not any(utterances for _, utterances, *_ in sums):
        raise CliError(f"{folder}: the index holds no utterance: see its rejected.jsonl and build it again")
    present = {INDEX_FILE, *names} if is_remote(folder) else set(os.listdir(folder))
    if missing := [name for name in (INDEX_FILE, *names) if name not in present]:
        others = f", and {len(missing) - 1:,} more files" if missing[1:] else ""
        raise CliError(f"{folder}/{missing[0]} is missing{others}: copy it again or {REBUILD}")
    return names, sums, characters


def _read_file(folder: str, name: str) -> bytes:
    """A small file of a data set folder; CliError where it is not there."""
    path = Path(folder)
    if not is_remote(folder) and not (path / name).is_file():
        inside = sorted(f"{path.name}/{found.parent.name}" for found in path.glob(f"*/{name}"))
        cure = f"give one of {', '.join(inside)}" if inside else "correct the path, or build it with asrscale.shard"
        state = f"no {name} here, so no finished data set" if path.is_dir() else "no such folder"
        raise CliError(f"{folder}: {state}: {cure}")
    try:
        return read_bytes(f"{folder}/{name}") if is_remote(folder) else (path / name).read_bytes()
    except FileNotFoundError as error:
        raise CliError(f"{folder}: no {name} here: correct the address, or copy the whole folder there") from error
