"""The groups of an evaluation: by data set, duration, speaker, and what the source says of a recording."""

from itertools import pairwise

import numpy as np

from asrscale.data import source_columns
from asrscale.data.index import Index
from asrscale.data.source_columns import UNKNOWN
from asrscale.speech.pcm import SAMPLE_RATE_HZ

SOURCE_COLUMNS = ("accent", "accents", "gender", "up_votes", "down_votes")  # Common Voice's names, old and new

GROUPINGS = ("data_set", "duration", "speaker", *SOURCE_COLUMNS)

# Each span of durations begins at one of these and ends before the next.
SPAN_EDGES_SECONDS = (0, 1, 2, 4, 6, 8, 10, 15, 20, 30)
SPANS = tuple(f"{start:2} to {end} s" for start, end in pairwise([*SPAN_EDGES_SECONDS, "…"]))


def group_values(utterances: Index) -> dict[str, list[str]]:
    """Returns for each of `GROUPINGS` the group of every utterance, `UNKNOWN` where there is no saying.

    Reads the shards' records of their sources; those of a shard that cannot be read are unknown, with a warning.
    """
    values = {
        "data_set": [utterances.data_set(number) for number in range(len(utterances))],
        "duration": duration_spans(utterances),
        "speaker": [speaker or UNKNOWN for speaker in utterances.speakers.to_pylist()],
    }
    return values | source_columns.columns_of_source(utterances, SOURCE_COLUMNS)


def duration_spans(utterances: Index) -> list[str]:
    """Returns the name of the span that each utterance's duration is in."""
    spans = np.digitize(utterances.num_samples / SAMPLE_RATE_HZ, SPAN_EDGES_SECONDS) - 1
    return [SPANS[span] for span in spans]
