"""The HTML page of the statistics of data set folders.

Shape legend: N utterances of all folders.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from asrscale.common.html import Block, bars, histogram, table, write_page
from asrscale.corpus.statistics import FolderStatistics, SharedContent, Statistics
from asrscale.data.index import Index, read_index
from asrscale.data.players import PLAYERS, players
from asrscale.data.source_columns import UNKNOWN, columns_of_source
from asrscale.speech.normalisation import describe_rules
from asrscale.speech.pcm import SAMPLE_RATE_HZ

GROUPS = ("accent", "accents", "age", "gender", "speaker")  # as Common Voice names them


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
        "Splits": [_held_table(statistics.folders), _shared_table(statistics)],
        "Utterances": _utterance_plots(seconds, texts, _sum_counts(folder.characters for folder in statistics.folders)),
        "Hours by": [bars(column, hours) for column, hours in _hours_by(index).items()],
        "Rejected rows": [_rejected_bars(statistics.folders)],
        "Listen, from the shortest to the longest": _players(index, seconds, texts),
    }
    title = os.path.dirname(folders[0]) or folders[0]
    text = "; ".join(dict.fromkeys(describe_rules(rules) for rules in index.text_rules))
    summary = f"{len(index):,} utterances, {index.hours:,.2f} hours; {text}."
    write_page(path, title, summary, sections)


def _held_table(folders: Sequence[FolderStatistics]) -> Block:
    """What each folder holds."""
    rows = [
        (folder.name, folder.utterances, folder.hours, folder.speakers, folder.repeated_clips) for folder in folders
    ]
    return table("Held", ["split", "clips", "hours", "speakers", "repeated clips"], rows)


def _shared_table(statistics: Statistics) -> Block:
    """What each two folders share, and what they would share if clips had been split at random."""
    leak = statistics.random_split_leak
    caption = f"Shared; split at random, 70 to 30, {leak:.1%} of the validation clips would have their text in train"
    rows = [_shared_row(shared) for shared in statistics.shared]
    return table(caption, ["splits", "texts", "speakers", "recordings"], rows)


def _shared_row(shared: SharedContent) -> tuple[str, int, int, int]:
    names = f"{shared.one.name} and {shared.other.name}"
    return names, shared.sentences, shared.speakers, shared.recordings


def _utterance_plots(seconds: NDArray[np.float64], texts: Sequence[str], characters: Mapping[str, int]) -> list[Block]:
    """How long utterances are, how fast they are spoken, and which characters their transcripts have.

    Args:
        seconds: (N,) lengths.
        texts: N transcripts.
        characters: How often each character occurs in them.
    """
    words = np.array([len(text.split()) for text in texts])
    named = {character.replace(" ", "space"): count for character, count in characters.items()}
    return [
        histogram("Length in seconds", seconds),
        histogram("Words a second", words / seconds),
        bars("Characters", named),
    ]


def _rejected_bars(folders: Sequence[FolderStatistics]) -> Block:
    """How many rows were rejected for each reason."""
    rejected = _sum_counts(folder.rejected for folder in folders)
    num_rows = sum(folder.rows for folder in folders)
    return bars(f"{rejected.total():,} of {num_rows:,}, by reason", rejected)


def _players(index: Index, seconds: NDArray[np.float64], texts: Sequence[str]) -> list[Block]:
    """Utterances of evenly spread ranks among all lengths, from the shortest to the longest."""
    ranks = np.linspace(0, len(index) - 1, min(PLAYERS, len(index))).astype(int)
    spread = np.argsort(seconds)[ranks]
    return players(index, {number: texts[number] for number in spread.tolist()})


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
