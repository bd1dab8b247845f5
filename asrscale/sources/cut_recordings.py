"""Recordings that are segments themselves: their table keeps where they were cut out of a longer recording.

AMI's table on the hub has such `begin_time` and `end_time`, which say nothing of the clips beside it.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from asrscale.common.errors import AudioError
from asrscale.sources.recordings import AudioRoot, open_audio
from asrscale.sources.rows import Row
from asrscale.sources.segments import LENGTH_COLUMN, OFFSET_COLUMN, SEGMENT_TOLERANCE_SECONDS
from asrscale.speech.parts import probe_seconds

FIRST_ROWS = 1_000  # among which segments are looked for

MEASURED_ROWS = 20  # whose recordings are


def are_cut_out(rows: Iterable[Row], audio_root: AudioRoot) -> bool:
    """Whether the recordings of a source's first rows have the length of their segments, and end before these do.

    Segments by NeMo's `offset` are what they say and not looked at.
    """
    found = [row for row in islice(rows, FIRST_ROWS) if row.start_seconds and row.seconds]
    segments = [row for row in found if OFFSET_COLUMN not in row.extra][:MEASURED_ROWS]
    num_cut_out = sum(_is_cut_out(row, audio_root) for row in segments)
    return num_cut_out > 0 and 2 * num_cut_out >= len(segments)


def print_cut_out(source: str) -> None:
    """Says on stderr that the segments of a source are not cut."""
    print(f"{source}: the recordings are as long as from start to end, so they are used whole", file=sys.stderr)


def read_cut_out_rows(read_rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """Reads a source's rows without their segments."""
    for row in read_rows():
        length = row.extra.get(LENGTH_COLUMN)
        yield replace(row, start_seconds=None, seconds=float(length) if length else None)


def _is_cut_out(row: Row, audio_root: AudioRoot) -> bool:
    """Whether a recording has the length of its segment, which ends behind its end."""
    start_seconds, seconds = row.segment
    assert seconds is not None
    try:
        length_seconds = probe_seconds(open_audio(row, audio_root))
    except AudioError:
        return False
    ends_behind = start_seconds + seconds > length_seconds + SEGMENT_TOLERANCE_SECONDS
    return ends_behind and abs(length_seconds - seconds) <= SEGMENT_TOLERANCE_SECONDS
