"""The HTML page of a data set's statistics."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from asrscale.common.html import bars, histogram, table, write_page
from asrscale.common.storage import read_bytes
from asrscale.data.catalog import DATASET_FILE
from asrscale.data.index import Index, read_index
from asrscale.data.players import PLAYERS, players
from asrscale.data.source_columns import UNKNOWN, columns_of_source
from asrscale.speech.pcm import SAMPLE_RATE_HZ

GROUPS = ("accent", "accents", "age", "gender", "speaker")  # as Common Voice names them


def write_data_set_page(
    folders: Sequence[str], path: str, held: Iterable[Sequence[object]], shared: Iterable[Sequence[object]], leak: float
) -> None:
    """Writes the page of data set folders to `path`: what they hold, what they share, plots and sound."""
    about = [json.loads(read_bytes(f"{folder}/{DATASET_FILE}")) for folder in folders]
    rejected, characters = (sum((Counter(one[of]) for one in about), Counter()) for of in ("rejected", "characters"))
    index = read_index(folders)
    seconds, texts = index.num_samples / SAMPLE_RATE_HZ, index.texts.to_pylist()
    words = np.array([len(text.split()) for text in texts])
    spread = np.argsort(seconds)[np.linspace(0, len(index) - 1, min(PLAYERS, len(index))).astype(int)]
    would_leak = f"Shared; split at random, 70 to 30, {leak:.1%} of the validation clips would have their text in train"
    sections = {
        "Splits": [
            table("Held", ["split", "clips", "hours", "speakers", "repeated clips"], held),
            table(would_leak, ["splits", "texts", "speakers", "recordings"], shared),
        ],
        "Utterances": [
            histogram("Length in seconds", seconds),
            histogram("Words a second", words / seconds),
            bars("Characters", {name.replace(" ", "space"): count for name, count in characters.items()}),
        ],
        "Hours by": [bars(column, hours) for column, hours in _hours_by(index).items()],
        "Rejected rows": [bars(f"{rejected.total():,} of {sum(one['rows'] for one in about):,}, by reason", rejected)],
        "Listen, from the shortest to the longest": players(index, {i: texts[i] for i in spread.tolist()}),
    }
    steps = ", ".join(about[0]["normalisation"]).replace("_", " ")
    summary = f"{len(index):,} utterances, {index.hours:,.2f} hours. Transcripts: {steps}."
    write_page(path, os.path.dirname(folders[0]) or folders[0], summary, sections)


def _hours_by(index: Index) -> dict[str, dict[str, float]]:
    """Hours of each value of the columns about speakers, where the source has them."""
    hours: dict[str, dict[str, float]] = {}
    for name, column in columns_of_source(index, GROUPS).items():
        values, places = np.unique(column, return_inverse=True)
        sums = np.bincount(places, index.num_samples / SAMPLE_RATE_HZ / 3600).tolist()
        hours[name] = {value: sum for value, sum in zip(values.tolist(), sums, strict=True) if value != UNKNOWN}
    return {name: found for name, found in hours.items() if found}
