"""Checks every byte of data set folders: the verb `verify` of `python -m asrscale.shard`."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import BinaryIO

import numpy as np

from asrscale.common.errors import AsrscaleError, AudioError, CliError
from asrscale.common.progress import progress
from asrscale.common.storage import open_binary
from asrscale.common.workers import usable_cores
from asrscale.data.catalog import DATASET_FILE, Catalog, read_catalog
from asrscale.data.index import Index, read_shards
from asrscale.data.tars import tar_members
from asrscale.speech.decoding import decode_payload

NAMED_PROBLEMS = 20  # of a shard: more of them are only counted


def verify(folders: Sequence[str]) -> None:
    """Checks shards against their checksums, recordings against the index, and the index against the tars.

    Raises:
        CliError: Something is damaged; what it is has been printed.
    """
    utterances = 0
    shards = 0
    problems = 0
    for folder in folders:
        catalog = read_catalog([folder])
        problems += _print_problems(folder, catalog)
        utterances += int(catalog.utterances.sum())
        shards += len(catalog.shards)
    if problems:
        raise CliError(f"{problems:,} faults in {', '.join(folders)}: build or copy again what is named above")
    print(f"{utterances:,} utterances in {shards:,} shards are as they were built")


def _print_problems(folder: str, catalog: Catalog) -> int:
    """Prints what is wrong with the shards of a folder; returns how many problems there are."""
    check = partial(_problems_of_shard, catalog)
    count = 0
    with (
        progress(int(catalog.utterances.sum()), "verifying", "utterances") as bar,
        ThreadPoolExecutor(usable_cores()) as pool,  # hashing and decoding leave the interpreter's lock
    ):
        for number, problems in enumerate(pool.map(check, range(len(catalog.shards)))):
            for problem in problems[:NAMED_PROBLEMS]:
                print(f"{catalog.shards[number]}: {problem}")
            count += len(problems)
            bar.advance(int(catalog.utterances[number]))
    return count


def _problems_of_shard(catalog: Catalog, number: int) -> list[str]:
    """Returns what is wrong with a shard; where it cannot be read any further, the last problem says why."""
    problems: list[str] = []
    try:
        # `extend` keeps what was found before an error.
        problems.extend(_find_problems(catalog, number))
    except (AsrscaleError, OSError) as error:
        problems.append(str(error))
    return problems


def _find_problems(catalog: Catalog, number: int) -> Iterator[str]:
    """Yields what is wrong with a shard; raises AsrscaleError or OSError where it cannot be read."""
    path = catalog.shards[number]
    index = read_shards(catalog, [number])
    with open_binary(path) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != catalog.shard_sha256[number]:  # type: ignore[arg-type]
            yield f"the checksum is not that of {DATASET_FILE}"
        yield from _damaged_recordings(file, index)
    yield from _misplaced_recordings(path, index)


def _damaged_recordings(file: BinaryIO, index: Index) -> Iterator[str]:
    """Yields the recordings of a shard whose bytes or length are not those of the index."""
    is_inside = index.lies_in_shard(np.arange(len(index)))
    for i in range(len(index)):
        key = index.keys[i].as_py()
        if not is_inside[i]:
            yield f"{key}: its place in the index lies outside the shard"
            continue
        file.seek(int(index.offsets[i]))
        audio = file.read(int(index.sizes[i]))
        if zlib.crc32(audio) != index.crc32[i]:
            yield f"{key}: the checksum is not that of the index"
            continue
        promised_samples = int(index.num_samples[i])
        try:
            num_samples = len(decode_payload(audio, promised_samples))
        except AudioError as error:
            yield f"{key}: {error}"
            continue
        if num_samples != promised_samples:
            yield f"{key}: {num_samples:,} samples, the index says {promised_samples:,}"


def _misplaced_recordings(path: str, index: Index) -> Iterator[str]:
    """Yields the keys of the index that no member of the tar has at the indexed place."""
    members = {place.start: (name, place.size) for name, place in tar_members(path)}
    for key, offset, size in zip(index.keys.to_pylist(), index.offsets, index.sizes, strict=True):
        name, member_size = members.get(int(offset), ("", 0))
        if not name.startswith(f"{key}.") or member_size != size:
            yield f"{key}: what the index calls so is no member of the tar"
