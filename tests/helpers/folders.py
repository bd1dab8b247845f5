"""Data set folders of a few rows, without audio."""

import json
from pathlib import Path
from typing import Any

import pytest

from asrscale.common.errors import CliError
from asrscale.data.catalog import DATASET_FILE, INDEX_FILE, SCHEMA_VERSION
from asrscale.data.index import read_index, write_index

PAYLOAD_BYTES = 100


def make_folder(folder: Path, counts: tuple[int, ...]) -> Path:
    """A data set folder whose shards hold `counts` utterances of 1, 2, 3 … seconds, and no audio."""
    folder.mkdir(parents=True)
    tables = []
    shards = []
    number = 0
    for shard_number, count in enumerate(counts):
        name = f"{folder.name}-{shard_number:06d}.tar"
        utterances = []
        for position in range(count):
            number += 1
            utterances.append(
                {
                    "key": f"{folder.name}-{number:08d}",
                    "shard": name,
                    "offset": position * PAYLOAD_BYTES,
                    "size": PAYLOAD_BYTES,
                    "crc32": 2**32 - number,
                    "num_samples": number * 16_000,
                    "text": f"text {number}",
                    "speaker": "ann" if number % 2 else None,
                }
            )
        tables.append(utterances)
        (folder / name).write_bytes(bytes(count * PAYLOAD_BYTES))
        samples = [utterance["num_samples"] for utterance in utterances]
        shards.append(
            {
                "file": name,
                "bytes": count * PAYLOAD_BYTES,
                "utterances": count,
                "samples": sum(samples),
                "longest_samples": max(samples, default=0),
            }
        )
    write_index(folder / INDEX_FILE, tables)
    dataset = {"schema_version": SCHEMA_VERSION, "shards": shards, "characters": {"t": number}}
    (folder / DATASET_FILE).write_text(json.dumps(dataset))
    return folder


def read_dataset(folder: Path) -> dict[str, Any]:
    """The dataset.json of a folder."""
    dataset: dict[str, Any] = json.loads((folder / DATASET_FILE).read_text())
    return dataset


def refusal(*folders: Path) -> str:
    """The one line that says why the folders cannot be read."""
    with pytest.raises(CliError) as caught:
        read_index([str(folder) for folder in folders])
    assert "\n" not in str(caught.value)
    return str(caught.value)
