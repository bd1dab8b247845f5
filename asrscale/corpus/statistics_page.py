"""The HTML page of the statistics of data set folders.

Shape legend: N utterances of all folders.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from asrscale.common.html import Block, Cell, Number, bars, numbers, prose, table, write_page
from asrscale.common.html_chart import histogram
from asrscale.corpus.statistics import FolderStatistics, SharedContent, Statistics
from asrscale.data.index import Index, read_index
from asrscale.data.players import players
from asrscale.data.source_columns import UNKNOWN, columns_of_source
from asrscale.speech.normalisation import describe_rules
from asrscale.speech.pcm import SAMPLE_RATE_HZ

GROUPS = ("accent", "accents", "age", "gender", "speaker")  # as Common Voice names them

SPREAD_LENGTHS = 12  # utterances to listen to, from the shortest to the longest
FASTEST = 6  # and of those that are spoken fastest, and slowest, where transcripts tend to be wrong


def write_statistics_page(statistics: Statistics, path: str) -> None:
    """Writes a page to the file `path`: what the folders hold, what they share, plots and sound.

    Raises:
        CliError: The file cannot be written, or a folder is not complete.
    """
    folders = [folder.path for folder in statistics.folders]
    index = read_index(folders)
    seconds = index.num_samples / SAMPLE_RATE_HZ
    texts = index.texts.to_pylist()
    sections = {
        "At a glance": [_headline(statistics, index, seconds)],
        "Splits": [_held_table(statistics.folders), *_shared_tables(statistics)],
        "Utterances": _utterance_plots(seconds, texts),
        "Transcripts": _transcript_blocks(statistics.folders),
        "Hours by": [bars(column, hours, unit="hours") for column, hours in _hours_by(index).items()],
        "Rejected rows": [_rejected_bars(statistics.folders)],
        "Listen": [_listening_table(index, seconds, texts)],
        "How transcripts are normalised": [_rules(index)],
    }
    title = os.path.dirname(folders[0]) or folders[0]
    names = ", ".join(folder.name for folder in statistics.folders)
    write_page(path, title, f"Statistics of {names}", sections)


def _headline(statistics: Statistics, index: Index, seconds: NDArray[np.float64]) -> Block:
    """Returns the numbers that a corpus is known by."""
    folders = statistics.folders
    speakers = len(set(index.speakers.drop_null().to_pylist()))
    rows = sum(folder.rows for folder in folders)
    rejected = sum(sum(folder.rejected.values()) for folder in folders)
    shared = sum(shared.sentences for shared in statistics.shared)
    repeated = sum(folder.repeated_clips for folder in folders)
    shown = [
        Number("Hours", f"{index.hours:,.2f}", "of audio"),
        Number("Utterances", f"{len(index):,}", f"in {len(folders):,} folders" if len(folders) > 1 else ""),
        Number("Speakers", f"{speakers:,}" if speakers else "none", "" if speakers else "are named in the source"),
        Number("Rejected", f"{rejected:,}", f"{rejected / max(1, rows):.1%} of {rows:,} rows"),
        Number("Repeated clips", f"{repeated:,}", "the same audio as another clip of the folder"),
    ]
    if len(seconds):
        longest = f"{np.min(seconds):.1f} to {np.max(seconds):.1f} seconds"
        shown.insert(2, Number("Length", f"{np.mean(seconds):.1f} s", f"on average, {longest}"))
    if statistics.shared:
        warning = ": errors on them will look too few" if shared else ""
        shown.append(Number("Shared sentences", f"{shared:,}", f"are in two folders{warning}"))
    return numbers("", shown)


def _held_table(folders: Sequence[FolderStatistics]) -> Block:
    """What each folder holds."""
    rows = [
        (
            folder.name,
            folder.utterances,
            folder.hours,
            folder.speakers,
            folder.mean_seconds,
            folder.longest_seconds,
            folder.shards,
            folder.shard_bytes / 1e6,
            sum(folder.rejected.values()),
            folder.repeated_clips,
        )
        for folder in folders
    ]
    header = ["folder", "utterances", "hours", "speakers", "mean seconds", "longest seconds", "shards", "MB"]
    return table("What each folder holds", [*header, "rejected rows", "repeated clips"], rows)


def _shared_tables(statistics: Statistics) -> Iterator[Block]:
    """Yields what each two folders share, where there are two."""
    if not statistics.shared:
        return
    leak = statistics.random_split_leak
    note = f"Split at random, 70 to 30, {leak:.1%} of the validation clips would have their text in train."
    rows = [_shared_row(shared) for shared in statistics.shared]
    yield table("What two folders share", ["folders", "sentences", "speakers", "recordings"], rows, note=note)


def _shared_row(shared: SharedContent) -> tuple[str, int, int, int]:
    names = f"{shared.one.name} and {shared.other.name}"
    return names, shared.sentences, shared.speakers, shared.recordings


def _utterance_plots(seconds: NDArray[np.float64], texts: Sequence[str]) -> list[Block]:
    """How long utterances are, and how fast they are spoken.

    Args:
        seconds: (N,) lengths.
        texts: N transcripts.
    """
    words = np.array([len(text.split()) for text in texts])
    characters = np.array([len(text) for text in texts])
    return [
        histogram("Length", seconds, x_label="length of the utterance in seconds"),
        histogram("Words a second", _per_second(words, seconds), x_label="words a second, pauses included"),
        histogram(
            "Characters a second", _per_second(characters, seconds), x_label="characters a second, pauses included"
        ),
    ]


def _per_second(counts: NDArray[np.int64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns (N,) counts by length; infinite where an utterance has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rates: NDArray[np.float64] = counts / seconds
    return rates


def _transcript_blocks(folders: Sequence[FolderStatistics]) -> Iterator[Block]:
    """Yields how often which character, annotation and symbol occurs."""
    characters = _sum_counts(folder.characters for folder in folders)
    named = {_character_name(character): count for character, count in characters.items()}
    yield bars(f"{len(named):,} different characters", named, unit="times")
    yield bars("Markup in the source", _sum_counts(folder.markup for folder in folders), unit="times")
    yield bars("Symbols that are left out", _sum_counts(folder.symbols for folder in folders), unit="times")


def _character_name(character: str) -> str:
    """Returns a character, with its name where it is no letter or digit and so may not show."""
    if character.isalnum():
        return character
    is_mark = unicodedata.category(character).startswith("M")  # which stands on another character
    shown = f"◌{character}" if is_mark else character.strip()
    return f"{shown} {unicodedata.name(character, f'U+{ord(character):04X}').lower()}".strip()


def _rejected_bars(folders: Sequence[FolderStatistics]) -> Block:
    """How many rows were rejected for each reason."""
    rejected = _sum_counts(folder.rejected for folder in folders)
    num_rows = sum(folder.rows for folder in folders)
    return bars(f"{rejected.total():,} of {num_rows:,}, by reason", rejected, unit="rows")


def _listening_table(index: Index, seconds: NDArray[np.float64], texts: Sequence[str]) -> Block:
    """Returns utterances to listen to: of all lengths, and those that are spoken fastest and slowest."""
    chosen = _chosen(index, seconds, texts)
    sounds = players(index, chosen)
    speakers = index.speakers.to_pylist()
    rows: list[list[Cell]] = [
        [
            index.unique_key(number),
            sounds.get(number),
            why,
            float(seconds[number]),
            len(texts[number].split()) / seconds[number] if seconds[number] else None,
            speakers[number],
            texts[number],
        ]
        for number, why in chosen.items()
    ]
    header = ["utterance", "sound", "chosen for", "seconds", "words a second", "speaker", "transcript"]
    note = (
        f"{len(rows)} of {len(index):,} utterances: from the shortest to the longest in even steps, and those that are "
        "spoken fastest and slowest, where transcripts tend to be wrong."
    )
    return table("Recordings and their transcripts", header, rows, note=note, is_searchable=True)


def _chosen(index: Index, seconds: NDArray[np.float64], texts: Sequence[str]) -> dict[int, str]:
    """Returns the numbers of utterances to listen to, and what each was chosen for."""
    ranks = np.linspace(0, len(index) - 1, min(SPREAD_LENGTHS, len(index))).astype(int)
    chosen = dict.fromkeys(np.argsort(seconds, kind="stable")[ranks].tolist(), "its length")
    characters = np.array([len(text) for text in texts])
    by_rate = np.argsort(_per_second(characters, seconds), kind="stable").tolist()
    for numbers_of, why in ((by_rate[: -FASTEST - 1 : -1], "fast speech"), (by_rate[:FASTEST], "slow speech")):
        for number in numbers_of:
            chosen.setdefault(number, why)
    return chosen


def _rules(index: Index) -> Block:
    """Returns the steps that transcripts went through."""
    return prose("", [f"{text}." for text in dict.fromkeys(describe_rules(rules) for rules in index.text_rules)])


def _hours_by(index: Index) -> dict[str, dict[str, float]]:
    """Hours of each value of the columns about speakers, where the source has them."""
    hours_by_column: dict[str, dict[str, float]] = {}
    for name, column in columns_of_source(index, GROUPS).items():
        hours = _hours_of_values(column, index)
        if hours:
            hours_by_column[name] = hours
    return hours_by_column


def _hours_of_values(column: Sequence[str], index: Index) -> dict[str, float]:
    """Hours of the utterances with each known value of a column."""
    values, places = np.unique(column, return_inverse=True)
    sums = np.bincount(places, index.num_samples / SAMPLE_RATE_HZ / 3600)
    hours = dict(zip(values.tolist(), sums.tolist(), strict=True))
    hours.pop(UNKNOWN, None)
    return hours


def _sum_counts(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Adds up counts of several folders."""
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return total
