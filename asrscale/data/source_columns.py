"""Columns of the source, such as accent or votes, from the JSON members of shards."""

import sys
from collections.abc import Iterable

import numpy as np

from asrscale.common.errors import CliError
from asrscale.data.index import Index
from asrscale.data.tars import read_records

UNKNOWN = "unknown"


def columns_of_source(index: Index, names: Iterable[str]) -> dict[str, list[str]]:
    """Returns for each name the values of the utterances, in the order of the index.

    A value is UNKNOWN where the source has none, or its shard cannot be read, of which a warning is printed.
    """
    records = _records_of_utterances(index)
    columns: dict[str, list[str]] = {}
    for name in names:
        columns[name] = [record.get(name) or UNKNOWN for record in records]
    return columns


def _records_of_utterances(index: Index) -> list[dict[str, str]]:
    """Returns the JSON member of each utterance; an empty one where it has none or its shard cannot be read."""
    by_shard: dict[int, dict[str, dict[str, str]]] = {}
    for shard in np.unique(index.shard_ids).tolist():
        try:
            by_shard[shard] = read_records(index.shards[shard])
        except CliError as error:  # what is measured does not depend on it
            by_shard[shard] = {}
            print(f"warning: {error}; its utterances are of unknown accent, gender and votes", file=sys.stderr)
    shards = index.shard_ids.tolist()
    keys = index.keys.to_pylist()
    return [by_shard[shard].get(key, {}) for shard, key in zip(shards, keys, strict=True)]
