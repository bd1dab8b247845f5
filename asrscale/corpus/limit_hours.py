"""The option --max_hours: leaves so many hours of all splits together."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from asrscale.common.errors import AudioError, CliError
from asrscale.common.progress import Progress, progress
from asrscale.corpus.hours import choose_hours
from asrscale.corpus.split_spool import Split
from asrscale.sources.recordings import AudioRoot, open_audio
from asrscale.sources.rows import Row
from asrscale.speech.parts import probe_seconds

SECONDS_PER_HOUR = 3600


def limit_hours(splits: Sequence[Split], max_hours: float, seed: int) -> None:
    """Refuses rows until `max_hours` are left of all splits together, the same share of each.

    Raises:
        CliError: The share of a split is too short for one of its clips.
    """
    lengths_seconds = _measure(splits)
    all_seconds = sum(lengths.sum() for lengths in lengths_seconds)
    wanted_seconds = max_hours * SECONDS_PER_HOUR
    share = wanted_seconds / max(wanted_seconds, all_seconds)
    for split, lengths in zip(splits, lengths_seconds, strict=True):
        chosen = choose_hours(lengths, lengths.sum() / SECONDS_PER_HOUR * share, seed)
        if not chosen.any():
            raise CliError(f"--max_hours {max_hours:g} is not enough for a clip in {split.folder.name}: give more")
        split.rows.refuse_all_but(chosen)


def _measure(splits: Sequence[Split]) -> list[NDArray[np.float64]]:
    """Returns for each split the lengths of its rows in seconds."""
    num_rows = sum(len(split.rows.kept) for split in splits)
    with progress(num_rows, "measuring", "clips") as bar:
        return [np.fromiter(_lengths_seconds(split, bar), np.float64) for split in splits]


def _lengths_seconds(split: Split, bar: Progress) -> Iterator[float]:
    for row in split.rows.read(split.rows.kept):
        bar.advance()
        yield _length_seconds(row, split.audio_root)


def _length_seconds(row: Row, audio_root: AudioRoot) -> float:
    """Returns the length that the source gives or, where it gives none, the header of the recording."""
    if row.unusable:
        return 0.0
    if row.seconds:
        return row.seconds
    try:
        return probe_seconds(open_audio(row, audio_root))
    except AudioError:
        return 0.0  # it will be rejected
