"""HTML pages of figures, tables and sound, each one file without a script; and what is in data set folders.

report.html is the pages' template. Everything that is given as text is escaped.
"""

import base64
import hashlib
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
from asrscale.assemble import counts
from asrscale.audio import SAMPLE_RATE_HZ
from asrscale.errors import CliError
from asrscale.index import DATASET_FILE, Index, read_catalog, read_index, read_shards
from asrscale.sources import read_records
from asrscale.splits import random_split_leak
from asrscale.storage import Range, read_bytes, read_ranges

Block: TypeAlias = dict[str, Any]
Hashes: TypeAlias = NDArray[np.uint64]

TEMPLATE = Path(__file__).with_name("report.html")
PLAYERS = 9  # about 25 KB each
BARS = 20  # shown of many
WIDTH, HEIGHT = 600, 260  # of a plot, in its own units
COLUMNS = 24  # of a histogram: each is wide enough for a finger on a phone
GROUPS = ("accent", "accents", "age", "gender", "speaker")  # as Common Voice names them
UNKNOWN = "unknown"


def page(title: str, summary: str, sections: Mapping[str, Iterable[Block]]) -> str:
    """A whole HTML document of named sections, whose blocks, made by the functions below, stand beside each other."""
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text("utf-8"))
    return template.render(title=title, summary=summary, sections=sections, width=WIDTH, height=HEIGHT)


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Block:
    """A table; its first column is text."""
    return {"kind": "table", "caption": caption, "header": header, "rows": rows}


def bars(caption: str, values: Mapping[str, int | float]) -> Block:
    """A bar for each of the largest values, and how many more there are; nothing where there are none."""
    largest = Counter(values).most_common(BARS)
    return {"kind": "bars" if values else "", "caption": caption, "values": largest, "more": len(values) - BARS}


def curves(caption: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Block:
    """Lines of (x, y) points in one plot whose axes begin at 0; those without points are left out."""
    drawn = {name: points for name, points in lines.items() if points}
    right, top = (max((point[axis] for points in drawn.values() for point in points), default=1.0) for axis in (0, 1))
    paths = {
        name: " ".join(f"{WIDTH * x / right:.1f},{HEIGHT * (1 - y / top):.1f}" for x, y in points)
        for name, points in drawn.items()
    }
    return {"kind": "curves" if drawn else "", "caption": caption, "paths": paths, "right": right, "top": top}


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
        _write_data_set_page(folders, html, held, shared, leak)


def _name(folder: str) -> str:
    return os.path.basename(folder.rstrip("/"))


def _fingerprints(index: Index) -> list[Hashes]:
    """64 bits of each transcript, known speaker and recording, which is told by the size and CRC-32 of its payload."""
    texts, speakers = (
        np.frombuffer(b"".join(hashlib.blake2b(value.encode(), digest_size=8).digest() for value in values), np.uint64)
        for values in (index.texts.to_pylist(), index.speakers.drop_null().to_pylist())
    )
    return [texts, speakers, index.sizes.astype(np.uint64) << np.uint64(32) | index.crc32]


def _write_data_set_page(
    folders: Sequence[str], path: str, held: Iterable[Sequence[object]], shared: Iterable[Sequence[object]], leak: float
) -> None:
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


def _hours_by(index: Index) -> dict[str, dict[str, float]]:
    """Hours of each value of the columns about speakers, where the source has them."""
    hours: dict[str, dict[str, float]] = {}
    for name, column in columns_of_source(index, GROUPS).items():
        values, places = np.unique(column, return_inverse=True)
        sums = np.bincount(places, index.num_samples / SAMPLE_RATE_HZ / 3600).tolist()
        hours[name] = {value: sum for value, sum in zip(values.tolist(), sums, strict=True) if value != UNKNOWN}
    return {name: found for name, found in hours.items() if found}
