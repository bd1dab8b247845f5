"""HTML pages of figures, tables and sound, each one file without a script; and the page of a data set.

report.html is their template. Everything that is given as text is escaped.
"""

import base64
import json
import os
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
GROUPS = {"speaker", "accent", "accents", "gender", "age"}  # as Common Voice names them


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


def player(caption: str, data: bytes) -> Block:
    """A recording to listen to, given as the bytes of any audio file."""
    pcm = audio.to_pcm16(audio.resample(*audio.decode(BytesIO(data), max_seconds=3600)))
    return {"kind": "player", "caption": caption, "mp3": base64.b64encode(audio.encode(pcm, "mp3")).decode()}


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
        "Listen, from the shortest to the longest": _players(index),
    }
    steps = ", ".join(about[0]["normalisation"]).replace("_", " ")
    summary = f"{len(index):,} utterances, {index.hours:,.2f} hours. Transcripts: {steps}."
    try:
        Path(path).write_text(page(os.path.dirname(folders[0]) or folders[0], summary, sections), "utf-8")
    except OSError as error:
        raise CliError(f"--html {path}: {error.strerror}: give a file that can be written to") from error


def _hours_by(index: Index) -> dict[str, Counter[str]]:
    """Hours of each value of the columns about speakers, where the source has them."""
    records = {number: read_records(index.shards[number]) for number in np.unique(index.shard_ids)}
    hours: dict[str, Counter[str]] = {}
    for shard, key, samples in zip(index.shard_ids, index.keys.to_pylist(), index.num_samples, strict=True):
        about = records[shard].get(key, {})
        for column in GROUPS & {name for name in about if about[name]}:
            hours.setdefault(column, Counter())[about[column]] += samples / SAMPLE_RATE_HZ / 3600
    return dict(sorted(hours.items()))


def _players(index: Index) -> list[Block]:
    """Utterances to listen to, spread over all lengths."""
    ids = np.argsort(index.num_samples)[np.linspace(0, len(index) - 1, min(PLAYERS, len(index))).astype(int)]
    places = [Range(index.shards[index.shard_ids[i]], int(index.offsets[i]), int(index.sizes[i])) for i in ids]
    found = zip(index.take(ids).texts.to_pylist(), read_ranges(places), strict=True)
    return [player(text, data) for text, data in found if isinstance(data, bytes)]
