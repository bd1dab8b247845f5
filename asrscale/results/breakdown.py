"""What an evaluation tells beyond two numbers: how sure they are, for whom they hold, and where the errors are.

Shapes: N utterances, with word edits, reference words, character edits and reference characters of each.
"""

from collections.abc import Iterable
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asrscale.data import source_columns
from asrscale.data.index import Index
from asrscale.data.source_columns import UNKNOWN
from asrscale.results.intervals import rates_with_intervals
from asrscale.results.metrics import aligned_differences, count_errors
from asrscale.speech.normalisation import NORMALISATION_STEPS, normalise
from asrscale.speech.pcm import SAMPLE_RATE_HZ

COLUMNS = ("accent", "accents", "gender", "up_votes", "down_votes")  # Common Voice's names, old and new


EDGES_SECONDS = np.array([0, 1, 2, 4, 6, 8, 10, 15, 20, 30])


SPANS = np.array([f"{low:2} to {high} s" for low, high in pairwise([*EDGES_SECONDS, "…"])])


# A speaker's utterances err alike: resampled one by one they would promise too much. Whole speakers can be resampled
# where there are some; with less than about 20 that is too narrow as well (Cameron, Gelbach and Miller 2008).
MIN_SPEAKERS = 20


WORST, GROUPS_SHOWN = 50, 6


def break_down(index: Index, hypotheses: Iterable[tuple[int, str]]) -> dict[str, Any]:
    """Rates of all utterances with their intervals, `by` duration, speaker and what of COLUMNS there is; the `worst`.

    `hypotheses` are behind their numbers in the index and in its order: shard after shard. Of each, 44 bytes are kept.
    """
    groups: dict[str, dict[str, int]] = {name: {} for name in ("duration", "speaker", *COLUMNS)}
    groups["speaker"][UNKNOWN] = -1
    table, done = np.zeros((4 + len(groups), len(index)), np.int32), 0
    worst: list[tuple[tuple[int, ...], str, str, str]] = []
    for _, said in groupby(hypotheses, key=lambda pair: index.shard_ids[pair[0]]):
        ids, heard = zip(*((i, normalise(text)) for i, text in said), strict=True)
        held = index.take(np.array(ids))
        keys, texts = held.keys.to_pylist(), held.texts.to_pylist()
        counts = [count_errors([text], [other]).amounts for text, other in zip(texts, heard, strict=True)]
        columns = {"duration": SPANS[np.digitize(held.num_samples / SAMPLE_RATE_HZ, EDGES_SECONDS) - 1].tolist()}
        columns["speaker"] = [speaker or UNKNOWN for speaker in held.speakers.to_pylist()]
        columns |= source_columns.columns_of_source(held, COLUMNS)
        numbers = [[seen.setdefault(value, len(seen)) for value in columns[name]] for name, seen in groups.items()]
        table[:, done : done + len(ids)] = [*zip(*counts, strict=True), *numbers]
        done += len(ids)
        worst = sorted([*worst, *zip(counts, keys, texts, heard, strict=True)], key=lambda row: -row[0][0])[:WORST]
    amounts, speakers, members = table[:4, :done].T, table[5, :done], table[4:, :done]
    by: dict[str, dict[str, Any]] = {}
    for (name, seen), column in zip(groups.items(), members, strict=True):
        whose = ((value, column == number) for value, number in sorted(seen.items()))
        if np.ptp(column):
            by[name] = {value: _rates(amounts[rows], speakers[rows]) for value, rows in whose if rows.any()}
    shown = [
        {"key": key, "word_edits": edits, "aligned": aligned_differences(*texts)} for (edits, *_), key, *texts in worst
    ]
    return _rates(amounts, speakers) | {"normaliser": NORMALISATION_STEPS, "by": by, "worst": shown}


def _rates(amounts: NDArray[np.int32], speakers: NDArray[np.int32]) -> dict[str, Any]:
    """WER and CER of (N, 4) counts by (N,) speakers, -1 unknown, with intervals, and what was resampled for these."""
    names, places = np.unique(speakers, return_inverse=True)
    samples, resampled = amounts, "utterances"
    if len(names) >= MIN_SPEAKERS and names[0] >= 0:
        samples, resampled = np.zeros((len(names), 4), np.int32), "speakers"
        np.add.at(samples, places, amounts)
    sizes = {"utterances": len(amounts), "words": int(amounts[:, 1].sum())}
    return sizes | rates_with_intervals(samples) | {"resampled": resampled}


def format_breakdown(found: dict[str, Any]) -> str:
    """What `break_down` found, a line for each way to group: the largest groups."""
    normaliser = ", ".join(found["normaliser"]).replace("_", " ")
    lines = [f"WER {_shown(found)} in 95 % of resampled {found['resampled']}; transcripts: {normaliser}"]
    for name, groups in found["by"].items():
        largest = sorted(groups, key=lambda value: -groups[value]["words"])[:GROUPS_SHOWN]
        shown = ", ".join(f"{value.strip()} {_shown(groups[value])}" for value in groups if value in largest)
        more = f" and {len(groups) - GROUPS_SHOWN:,} more" if len(groups) > GROUPS_SHOWN else ""
        lines.append(f"  by {name}: {shown}{more}")
    return "\n".join(lines)


def _shown(rates: dict[str, Any]) -> str:
    return "{wer:.2%} ({wer_low:.2%} to {wer_high:.2%})".format(**rates)
