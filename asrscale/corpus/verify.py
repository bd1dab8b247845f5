"""Checks every byte of data set folders."""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from asrscale.common.errors import AsrscaleError, CliError
from asrscale.common.progress import progress
from asrscale.common.storage import open_binary, read_bytes
from asrscale.common.workers import usable_cores
from asrscale.data.catalog import DATASET_FILE, Catalog, read_catalog
from asrscale.data.index import read_shards
from asrscale.data.tars import tar_members
from asrscale.speech.decoding import decode_payload

NAMED_PROBLEMS = 20  # of a shard: more of them are counted only


def verify(folders: Sequence[str]) -> None:
    """Checks shards against their checksums, records against the index, that against the tars; CliError if damaged."""
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
