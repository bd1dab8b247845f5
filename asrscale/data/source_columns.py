"""Columns of the source, such as accent or votes, from the JSON members of shards."""

import sys
from collections.abc import Iterable

import numpy as np

from asrscale.common.errors import CliError
from asrscale.data.index import Index
from asrscale.data.tars import read_records

UNKNOWN = "unknown"


def columns_of_source(index: Index, names: Iterable[str]) -> dict[str, list[str]]:
    """For each name what the source said of the utterances, UNKNOWN where nothing, or its shard cannot be read."""
    records: dict[int, dict[str, dict[str, str]]] = {}
    for shard in np.unique(index.shard_ids).tolist():
        try:
            records[shard] = read_records(index.shards[shard])
        except CliError as error:  # what is measured is not at stake
            print(f"warning: {error}; its utterances are of unknown accent, gender and votes", file=sys.stderr)
    places = zip(index.shard_ids.tolist(), index.keys.to_pylist(), strict=True)
    about = [records.get(shard, {}).get(key, {}) for shard, key in places]
    return {name: [str(one.get(name) or UNKNOWN) for one in about] for name in names}
