"""What is in data set folders, and which sentences, speakers and recordings they share."""

import hashlib
import json
import os
from collections.abc import Sequence
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asrscale.common.storage import read_bytes
from asrscale.corpus.assemble import counts
from asrscale.corpus.statistics_page import write_data_set_page
from asrscale.data.catalog import DATASET_FILE, read_catalog
from asrscale.data.index import Index, read_shards
from asrscale.speech.pcm import SAMPLE_RATE_HZ


def random_split_leak(clips: NDArray[np.integer[Any]], valid_fraction: float = 0.3) -> float:
    """The share of validation clips whose sentence is in train, as expected of a random split of the clips.

    `clips` says how many each sentence has. 70 to 30 is the split of the notebook that this project began with.
    """
    return float((clips * (1 - valid_fraction ** (clips - 1.0))).sum() / clips.sum())


Hashes: TypeAlias = NDArray[np.uint64]


def print_stats(folders: Sequence[str], html: str | None = None) -> None:
    """Tells a person what is in data set folders, and what they share; 24 bytes a row are kept.

    The page in the file `html` has plots and sound, too; the whole index is read for it.

    Raises:
        CliError: A folder is not whole, or the page cannot be written.
    """
    held: list[tuple[str, int, float, int, int]] = []
    hashes: list[list[Hashes]] = []  # of each folder: its sentences, speakers and recordings
    for folder in folders:
        catalog = read_catalog([folder])
        dataset = json.loads(read_bytes(os.path.join(folder, DATASET_FILE)))
        rejected, characters, shards = dataset["rejected"], dataset["characters"], dataset["shards"]
        utterances, megabytes = dataset["utterances"], sum(shard["bytes"] for shard in shards) / 1e6
        seconds = catalog.hours * 3600 / utterances, catalog.longest_samples.max() / SAMPLE_RATE_HZ
        print(f"{folder}: {utterances:,} utterances, {catalog.hours:.2f} h, {len(shards)} shards, {megabytes:,.1f} MB")
        print(f"  length: {seconds[0]:.1f} s on average, {seconds[1]:.1f} s at most")
        print(f"  rejected: {sum(rejected.values()):,} of {dataset['rows']:,} rows  {counts(rejected)}".rstrip())
        digits = sum(count for character, count in characters.items() if character.isdigit())
        print(f"  characters: {len(characters)}  {''.join(characters)!r}; digits, kept and not spelled: {digits:,}")
        by_shard = [_fingerprints(read_shards(catalog, [number])) for number in range(len(shards))]
        hashes.append([np.concatenate(column) for column in zip(*by_shard, strict=True)])
        _, speakers, recordings = (len(np.unique(column)) for column in hashes[-1])
        held.append((_name(folder), utterances, catalog.hours, speakers, utterances - recordings))
        print(f"  repeated audio: {utterances - recordings:,} clips are the same as another")
    total = sum(utterances for _, utterances, *_ in held)
    print("of all utterances: " + ", ".join(f"{name} {utterances / total:.1%}" for name, utterances, *_ in held))
    shared: list[tuple[object, ...]] = []
    for (one, ours), (other, theirs) in combinations(zip(folders, hashes, strict=True), 2):
        common = [len(np.intersect1d(*pair)) for pair in zip(ours, theirs, strict=True)]
        print("{} and {} share {:,} sentences and {:,} speakers, and {:,} recordings".format(one, other, *common))
        if common[0]:
            print(f"warning: {common[0]:,} sentences of {other} are in {one} too: errors on {other} will look too few")
        shared.append((" and ".join(map(_name, (one, other))), *common))
    leak = random_split_leak(np.unique(np.concatenate([columns[0] for columns in hashes]), return_counts=True)[1])
    print(f"of clips split at random, 70 to 30, {leak:.1%} of the 30 would have their text in the 70")
    if html:
        write_data_set_page(folders, html, held, shared, leak)


def _name(folder: str) -> str:
    return os.path.basename(folder.rstrip("/"))


def _fingerprints(index: Index) -> list[Hashes]:
    """64 bits of each transcript, known speaker and recording, which is told by the size and CRC-32 of its payload."""
    texts, speakers = (
        np.frombuffer(b"".join(hashlib.blake2b(value.encode(), digest_size=8).digest() for value in values), np.uint64)
        for values in (index.texts.to_pylist(), index.speakers.drop_null().to_pylist())
    )
    return [texts, speakers, index.sizes.astype(np.uint64) << np.uint64(32) | index.crc32]
