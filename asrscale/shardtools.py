"""What is done with finished shards: verify them, tell what is in them."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from asrscale.assemble import counts
from asrscale.audio import SAMPLE_RATE_HZ, decode_payload
from asrscale.errors import AsrscaleError, CliError
from asrscale.index import DATASET_FILE, Catalog, read_catalog, read_shards
from asrscale.progress import progress
from asrscale.report import write_data_set_page
from asrscale.sources import tar_members
from asrscale.splits import random_split_leak
from asrscale.storage import open_binary, read_bytes
from asrscale.workers import usable_cores

Hashes: TypeAlias = npt.NDArray[np.uint64]

HISTOGRAM_BINS, HISTOGRAM_WIDTH = 10, 40
NAMED_PROBLEMS = 20  # of a shard: more of them are counted only


def verify(folders: Sequence[str]) -> None:
    """Checks shards against their checksums, each record against the index, and the index against the tars.

    Raises:
        CliError: Something is damaged; what, was printed.
    """
    utterances = shards = problems = 0
    for folder in folders:
        catalog = read_catalog([folder])
        dataset = json.loads(read_bytes(os.path.join(folder, DATASET_FILE)))
        checksums = [str(shard["sha256"]) for shard in dataset["shards"]]
        check = partial(_problems_of_shard, catalog, checksums)
        with (
            progress(int(catalog.utterances.sum()), "verifying", "utterances") as bar,
            ThreadPoolExecutor(usable_cores()) as pool,  # hashing and decoding leave the interpreter's lock
        ):
            for number, found in enumerate(pool.map(check, range(len(checksums)))):
                for problem in found[:NAMED_PROBLEMS]:
                    print(f"{catalog.shards[number]}: {problem}")
                problems += len(found)
                bar.advance(int(catalog.utterances[number]))
        utterances += int(catalog.utterances.sum())
        shards += len(checksums)
    if problems:
        raise CliError(f"{problems:,} faults in {', '.join(folders)}: build what is named again, or copy it again")
    print(f"{utterances:,} utterances in {shards:,} shards are as they were built")


def _problems_of_shard(catalog: Catalog, checksums: Sequence[str], number: int) -> list[str]:
    """What is wrong with a shard, a line each."""
    path, problems = catalog.shards[number], []
    try:
        index = read_shards(catalog, [number])
        with open_binary(path) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != checksums[number]:  # type: ignore[arg-type]
                problems.append("the checksum is not that of dataset.json")
            for i in range(len(index)):
                key, offset, size = index.keys[i].as_py(), int(index.offsets[i]), int(index.sizes[i])
                file.seek(offset)
                payload = file.read(size)
                if zlib.crc32(payload) != index.crc32[i]:
                    problems.append(f"{key}: the checksum is not that of the index")
                elif (length := len(decode_payload(payload))) != index.num_samples[i]:
                    problems.append(f"{key}: {length:,} samples, the index says {index.num_samples[i]:,}")
        members = {place.start: (name, place.size) for name, place in tar_members(path)}
        for key, offset, size in zip(index.keys.to_pylist(), index.offsets, index.sizes, strict=True):
            name, length = members.get(int(offset), ("", 0))
            if not name.startswith(f"{key}.") or length != size:
                problems.append(f"{key}: what the index calls so is no member of the tar")
    except (AsrscaleError, OSError) as error:
        problems.append(str(error))
    return problems


def print_stats(folders: Sequence[str], html: str | None = None) -> None:
    """Tells a person what is in data set folders, and what they share, also as a page; 16 bytes a row are kept."""
    sentences: dict[str, Hashes] = {}
    speakers: dict[str, Hashes] = {}
    for folder in folders:
        catalog = read_catalog([folder])
        dataset = json.loads(read_bytes(os.path.join(folder, DATASET_FILE)))
        rejected, characters, shards = dataset["rejected"], dataset["characters"], dataset["shards"]
        megabytes = sum(shard["bytes"] for shard in shards) / 1e6
        held = f"{dataset['utterances']:,} utterances, {catalog.hours:.2f} h"
        print(f"{folder}: {held}, {len(shards)} shards, {megabytes:,.1f} MB")
        print(f"  rejected: {sum(rejected.values()):,} of {dataset['rows']:,} rows  {counts(rejected)}".rstrip())
        digits = sum(count for character, count in characters.items() if character.isdigit())
        print(f"  characters: {len(characters)}  {''.join(characters)!r}; digits, kept and not spelled: {digits:,}")
        texts, voices, bins = [], [], np.zeros(HISTOGRAM_BINS, np.int64)
        longest = np.ceil(catalog.longest_samples.max() / SAMPLE_RATE_HZ)
        for number in range(len(shards)):
            index = read_shards(catalog, [number])
            found, edges = np.histogram(index.num_samples / SAMPLE_RATE_HZ, HISTOGRAM_BINS, (0, longest))
            bins += found
            texts.append(_hashes(index.texts.to_pylist()))
            voices.append(_hashes(filter(None, index.speakers.to_pylist())))
        for count, start, end in zip(bins, edges[:-1], edges[1:], strict=True):
            bar = "#" * round(HISTOGRAM_WIDTH * count / bins.max())
            print(f"  {start:5.1f} to {end:5.1f} s {count:8,} {bar}".rstrip())
        sentences[folder], speakers[folder] = np.concatenate(texts), np.concatenate(voices)
    for one, other in combinations(sentences, 2):
        shared = [len(np.intersect1d(of[one], of[other])) for of in (sentences, speakers)]
        print(f"{one} and {other} share {shared[0]:,} sentences and {shared[1]:,} speakers")
        if shared[0]:
            print(f"warning: {shared[0]:,} sentences of {other} are in {one} too: errors on {other} will look too few")
    clips = np.unique(np.concatenate([*sentences.values()]), return_counts=True)[1]
    print(
        f"of clips split at random, 70 to 30, {random_split_leak(clips):.1%} of the 30 would have their text in the 70"
    )
    if html:
        write_data_set_page(folders, html)


def _hashes(values: Iterable[str]) -> Hashes:
    """64 bits of each string: one pair in a million million rows is taken for another by mistake, at a million rows."""
    digests = b"".join(hashlib.blake2b(value.encode(), digest_size=8).digest() for value in values)
    return np.frombuffer(digests, np.uint64)
