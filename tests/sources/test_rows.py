"""Columns to rows."""

import pytest

from asrscale.common.errors import CliError
from asrscale.sources.rows import ColumnNames, Row, row_of_columns


def test_a_row_has_its_recording_and_transcript_and_the_other_columns_that_are_not_empty() -> None:
    columns = {"filename": "a.mp3", "text": "hello", "up_votes": "1", "age": "", "accent": " ", "": "unnamed"}
    expected = Row(line=2, source="a.csv", audio="a.mp3", text="hello", extra={"up_votes": "1"})
    assert row_of_columns(2, "a.csv", columns) == expected


@pytest.mark.parametrize(
    ("audio_column", "text_column"),
    [
        ("filename", "text"),
        ("path", "sentence"),
        ("audio_filepath", "text"),
        ("file_name", "transcription"),
        ("wav_filename", "transcript"),  # DeepSpeech
        ("audio_file", "text"),  # Coqui TTS
        ("wav", "wrd"),  # SpeechBrain
        ("wav", "txt"),  # WeNet
        ("source", "target"),  # FunASR
        ("audio", "transcription"),
        ("file", "transcript"),
        ("audio_id", "normalized_text"),  # VoxPopuli
        ("Filename", "Text"),
        ("FILE_NAME", "Transcription"),
    ],
)
def test_the_names_that_corpora_give_the_columns(audio_column: str, text_column: str) -> None:
    row = row_of_columns(2, "a.csv", {text_column: "hello", audio_column: "a.mp3"})
    assert (row.audio, row.text, row.extra) == ("a.mp3", "hello", {})


def test_columns_that_the_user_names_take_the_place_of_those_that_are_known() -> None:
    columns = {
        "filename": "no.mp3",
        "clip": "a.mp3",
        "text": "no",
        "Lyrics": "hello",
        "client_id": "bo",
        "reader": "ann",
    }
    row = row_of_columns(2, "a.csv", columns, names=ColumnNames(audio="clip", text="Lyrics", speaker="reader"))
    assert (row.audio, row.text, row.speaker) == ("a.mp3", "hello", "ann")
    assert row.extra.items() >= {"filename": "no.mp3", "text": "no", "client_id": "bo", "reader": "ann"}.items()
    with pytest.raises(CliError, match="needs 'x' and 'text'"):
        row_of_columns(2, "a.csv", columns, names=ColumnNames(audio="x"))


def test_a_name_in_other_case_counts_only_where_none_is_spelled_as_known() -> None:
    row = row_of_columns(2, "a.csv", {"Text": "no", "text": "yes", "FILENAME": "a.mp3", "Filename": "b.mp3"})
    assert (row.audio, row.text) == ("a.mp3", "yes")


def test_of_several_names_the_first_counts_and_the_others_are_extra() -> None:
    columns = {"path": "b.mp3", "filename": "a.mp3", "sentence": "there", "text": "hello"}
    row = row_of_columns(2, "a.csv", columns)
    assert (row.audio, row.text, row.extra) == ("a.mp3", "hello", {"path": "b.mp3", "sentence": "there"})


def test_an_empty_transcript_is_a_transcript_and_a_missing_one_is_not() -> None:
    assert row_of_columns(2, "a.csv", {"filename": "a.mp3", "text": ""}).text == ""
    for columns in ({"filename": "a.mp3"}, {"text": "hello"}):
        with pytest.raises(CliError, match=r"^a.csv line 2: needs 'audio_filepath' and 'text'"):
            row_of_columns(2, "a.csv", columns)


@pytest.mark.parametrize("column", ["client_id", "speaker", "speaker_id", "spk_id"])
def test_the_speaker(column: str) -> None:
    columns = {"filename": "a.mp3", "text": "hello"}
    assert row_of_columns(2, "a.csv", columns | {column: "ann"}).speaker == "ann"
    assert row_of_columns(2, "a.csv", columns | {column: ""}).speaker is None
    assert row_of_columns(2, "a.csv", columns).speaker is None


def test_a_segment_has_an_offset_and_a_duration_alone_makes_none() -> None:
    columns = {"filename": "a.mp3", "text": "hello"}
    assert row_of_columns(2, "a.csv", columns).segment == (0.0, None)
    assert row_of_columns(2, "a.csv", columns | {"duration": "1.5"}).segment == (0.0, None)
    assert row_of_columns(2, "a.csv", columns | {"offset": "2"}).segment == (2.0, None)
    assert row_of_columns(2, "a.csv", columns | {"offset": " 2.", "duration": "15e-1"}).segment == (2.0, 1.5)


@pytest.mark.parametrize("column", ["offset", "duration"])
@pytest.mark.parametrize("field", ["0:03", "-1", "NaN", "inf", "1e999", "1_000", "\u0661", "3 s"])
def test_what_is_no_number_of_seconds_is_refused(column: str, field: str) -> None:
    columns = {"filename": "a.mp3", "text": "hello", column: field}
    with pytest.raises(CliError, match=rf"^a.csv line 2: {column} '{field}' is no number of seconds"):
        row_of_columns(2, "a.csv", columns)


def test_columns_that_would_fill_the_memory_are_not_kept() -> None:
    columns = {"filename": "a.wav", "text": "a" * 65_536, "note": "b" * 65_536}
    assert not row_of_columns(2, "a.csv", columns).unusable
    row = row_of_columns(2, "a.csv", columns | {"more": "c"})
    assert row.unusable == "columns: more than 131,072 characters of them: leave some out"
    assert (row.audio, row.text, row.extra) == ("a.wav", "", {})
