"""Recordings with several transcripts."""

from helpers.filters import row

from asrscale.corpus.repeated_recordings import RepeatedRecordings
from asrscale.sources.rows import Row


def count(rows: list[Row]) -> int:
    repeated = RepeatedRecordings()
    for one in rows:
        repeated.add(one)
    return repeated.count()


def named(audio: str, text: str, **more: object) -> Row:
    return Row(2, "a.csv", audio, text, extra={}, **more)  # type: ignore[arg-type]


def test_recordings_with_several_texts_are_counted() -> None:
    assert count([]) == 0
    assert count([named("a", "one"), named("b", "one"), named("a", "one")]) == 0
    assert count([named("a", "one"), named("b", "one"), named("a", "two"), named("a", "three")]) == 1
    assert count([named(audio, text) for audio in "abc" for text in "xyz"]) == 3


def test_segments_channels_and_rows_that_are_left_out_are_no_repetition() -> None:
    assert count([named("a", "one", start_seconds=0.0), named("a", "two", start_seconds=1.0)]) == 0
    assert count([named("a", "one"), named("a", "two", refused="filtered: x")]) == 0
    assert count([named("a", "one"), named("a", "two", unusable="no recording: x")]) == 0
    assert count([row(2, "one", channel=0), row(2, "two", channel=1)]) == 0
    assert count([named("a", "one", tar="x.tar", tar_offset=1), named("a", "two", tar="x.tar", tar_offset=9)]) == 0
