"""HTML pages of figures, tables and sound, each one file without a script; and the page of a data set.

report.html is their template. Everything that is given as text is escaped.
"""

import base64
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
import numpy as np
from numpy.typing import NDArray

from asrscale import audio
from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.errors import CliError
from asrscale.index import DATASET_FILE, Index, read_index
from asrscale.sources import read_records
from asrscale.splits import count_duplicates, random_split_leak
from asrscale.storage import Range, read_bytes, read_ranges

Block: TypeAlias = dict[str, Any]

TEMPLATE = Path(__file__).with_name("report.html")
PLAYERS = 9  # about 25 KB each
BARS = 20  # shown of many
COLUMNS = 24  # of a histogram: each is wide enough for a finger on a phone
GROUPS = ("accent", "accents", "age", "gender", "speaker")  # as Common Voice names them
UNKNOWN = "unknown"


def page(title: str, summary: str, sections: Mapping[str, Iterable[Block]]) -> str:
    """A whole HTML document of named sections, whose blocks, made by the functions below, stand beside each other."""
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text("utf-8"))
    return template.render(title=title, summary=summary, sections=sections)


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Block:
    """A table; its first column is text."""
    return {"kind": "table", "caption": caption, "header": header, "rows": rows}


def bars(caption: str, values: Mapping[str, int | float]) -> Block:
    """A bar for each of the largest values, and how many more there are; nothing where there are none."""
    largest = Counter(values).most_common(BARS)
    return {"kind": "bars" if values else "", "caption": caption, "values": largest, "more": len(values) - BARS}


def histogram(caption: str, values: NDArray[Any]) -> Block:
    """How often which value occurs: a column each for equal ranges from 0 to the largest."""
    counts, edges = np.histogram(values, COLUMNS, (0, np.max(values)))
    return {"kind": "histogram", "caption": caption, "counts": counts.tolist(), "edges": edges.tolist()}


def players(index: Index, captions: Mapping[int, str]) -> list[Block]:
    """Utterances to listen to, by their numbers in the index; those that cannot be read are left out."""
    places = [Range(index.shards[index.shard_ids[i]], int(index.offsets[i]), int(index.sizes[i])) for i in captions]
    found = zip(captions.values(), read_ranges(places), strict=True)
    return [player(caption, data) for caption, data in found if isinstance(data, bytes)]


def player(caption: str, data: bytes) -> Block:
    """A recording to listen to, given as the bytes of any audio file."""
    pcm = audio.to_pcm16(audio.resample(*audio.decode(BytesIO(data), max_seconds=3600)))
    return {"kind": "player", "caption": caption, "mp3": base64.b64encode(audio.encode(pcm, "mp3")).decode()}


def write_page(path: str, title: str, summary: str, sections: Mapping[str, Iterable[Block]]) -> None:
    """Writes `page` to a file.

    Raises:
        CliError: It cannot be written.
    """
    try:
        Path(path).write_text(page(title, summary, sections), "utf-8")
    except OSError as error:
        raise CliError(f"--html {path}: {error.strerror}: give a file that can be written to") from error


def write_data_set_page(folders: Sequence[str], path: str) -> None:
    """Writes the page of data set folders, such as the splits of a corpus.

    Raises:
        CliError: A folder is not whole, or the page cannot be written.
    """
    splits = {os.path.basename(folder.rstrip("/")): read_index([folder]) for folder in folders}
    about = [json.loads(read_bytes(f"{folder}/{DATASET_FILE}")) for folder in folders]
    rejected, characters = (sum((Counter(one[of]) for one in about), Counter()) for of in ("rejected", "characters"))
    index = read_index(folders)
    seconds, texts = index.num_samples / SAMPLE_RATE_HZ, index.texts.to_pylist()
    words = np.array([len(text.split()) for text in texts])
    spread = np.argsort(seconds)[np.linspace(0, len(index) - 1, min(PLAYERS, len(index))).astype(int)]
    values = {name: [{*of.to_pylist()} - {None} for of in (one.texts, one.speakers)] for name, one in splits.items()}
    held = [(name, len(one), one.hours, len(values[name][1]), count_duplicates(one)) for name, one in splits.items()]
    pairs = combinations(splits, 2)
    shared = [(f"{a} and {b}", *map(len, map(set.intersection, values[a], values[b]))) for a, b in pairs]
    leak = random_split_leak(np.array(list(Counter(texts).values())))
    would_leak = f"Shared; split at random, 70 to 30, {leak:.1%} of the validation clips would have their text in train"
    sections = {
        "Splits": [
            table("Held", ["split", "utterances", "hours", "known speakers", "repeated audio"], held),
            table(would_leak, ["splits", "texts", "speakers"], shared),
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


def columns_of_source(index: Index, names: Iterable[str]) -> dict[str, NDArray[np.str_]]:
    """(N,) for each name what the source said of the utterances, UNKNOWN where nothing, or its shard cannot be read."""
    records: dict[int, dict[str, dict[str, str]]] = {}
    for shard in np.unique(index.shard_ids).tolist():
        try:
            records[shard] = read_records(index.shards[shard])
        except CliError as error:  # what is measured is not at stake
            print(f"warning: {error}; its utterances are of unknown accent, gender and votes", file=sys.stderr)
    places = zip(index.shard_ids.tolist(), index.keys.to_pylist(), strict=True)
    about = [records.get(shard, {}).get(key, {}) for shard, key in places]
    return {name: np.array([str(one.get(name) or UNKNOWN) for one in about]) for name in names}


def _hours_by(index: Index) -> dict[str, dict[str, float]]:
    """Hours of each value of the columns about speakers, where the source has them."""
    hours: dict[str, dict[str, float]] = {}
    for name, column in columns_of_source(index, GROUPS).items():
        values, places = np.unique(column, return_inverse=True)
        sums = np.bincount(places, index.num_samples / SAMPLE_RATE_HZ / 3600).tolist()
        hours[name] = {value: sum for value, sum in zip(values.tolist(), sums, strict=True) if value != UNKNOWN}
    return {name: found for name, found in hours.items() if found}
