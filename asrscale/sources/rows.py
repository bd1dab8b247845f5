"""A row of a source: one recording and its transcript."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from asrscale.data.tars import json_text
from asrscale.sources.line_errors import LineError
from asrscale.sources.segments import is_time, read_segment

# Of a row's columns together. A thousand rows are in memory at once; the words of an hour have half as many.
MAX_CHARACTERS = 131_072

# What sources call the columns that a row needs. Where a source has several of them, the first of the list counts; a
# name in other case (`Filename`) does too, where none is spelled as in the list.
AUDIO_COLUMNS = (
    "filename",  # ours and Common Voice v1's
    "path",  # that of Common Voice's later TSVs
    "audio_filepath",  # NeMo's
    "file_name",  # that of Hugging Face's audio folders
    "wav_filename",  # DeepSpeech's and Coqui STT's
    "audio_file",  # Coqui TTS's
    "audio_path",
    "wav_path",
    "file_path",  # one of SpeechBrain's
    "filepath",
    "audio",
    "wav",  # SpeechBrain's and WeNet's
    "file",
    "audio_id",  # VoxPopuli's on the hub
    "source",  # FunASR's
)


TEXT_COLUMNS = (
    "text",  # ours, Common Voice v1's and NeMo's
    "sentence",  # that of Common Voice's later TSVs
    "transcription",  # that of Hugging Face's audio folders
    "transcript",  # DeepSpeech's, MLS's on the hub
    "normalized_text",  # VoxPopuli's
    "wrd",  # SpeechBrain's
    "words",  # SpeechBrain's
    "txt",  # WeNet's
    "target",  # FunASR's
)


SPEAKER_COLUMNS = (
    "given_speaker",  # a copy of the column that --speaker_column names, where it is none of these
    "client_id",  # Common Voice's
    "speaker",  # ours and NeMo's
    "speaker_id",
    "spk_id",  # SpeechBrain's
)


MAX_QUOTED = 40  # characters of a wrong value that a message has


@dataclass(frozen=True)
class Row:
    """One recording and its transcript, unchanged from a source.

    The fields' names, order and values are hashed into dataset.json (`rows_sha256`): after a change here, folders that
    are already built count as built from other input.

    Attributes:
        line: Where the row starts in the file, the header being line 1; in folders and tars the row's number, from 1.
        source: Path of the file or tar that the row is read from.
        audio: The recording's path below the audio root, or its URL, or the name of its member in a tar.
        text: The transcript, not yet normalised.
        extra: The other columns that are not empty, such as up_votes, age, accent.
        start_seconds: Where the segment starts in the recording; None for a whole recording.
        seconds: Length of the recording or segment according to the source; None where it gives none.
        tar: Path of the tar that holds the recording; None for a file of its own.
        tar_offset: Where the recording starts in the tar, in bytes.
        tar_size: Size of the recording in the tar, in bytes.
        refused: Why the split's rules leave the row out, as `reason: detail`; empty for a row that is used.
        unusable: Why the source's row cannot be used, as `reason: detail`: it will be rejected. Empty for a row that is
            to be tried. Not part of the hashes, where earlier versions did not have it.
    """

    line: int
    source: str
    audio: str
    text: str
    extra: dict[str, str]
    start_seconds: float | None = None
    seconds: float | None = None
    tar: str | None = None
    tar_offset: int = 0
    tar_size: int = 0
    refused: str = ""
    unusable: str = field(default="", repr=False)

    @property
    def speaker(self) -> str | None:
        """The speaker's name, or None where the source gives none."""
        return next((self.extra[name] for name in SPEAKER_COLUMNS if name in self.extra), None)

    @property
    def segment(self) -> tuple[float, float | None]:
        """Where to start in the recording and how much of it to take, in seconds; None is to its end, as 0 is."""
        if self.start_seconds is None:
            return 0.0, None
        return self.start_seconds, self.seconds or None


@dataclass(frozen=True)
class ColumnNames:
    """The columns of a source that the user names; None is one of those that are known by their names.

    Attributes:
        audio: The column of recordings.
        text: The column of transcripts.
        speaker: The column of speakers.
    """

    audio: str | None = None
    text: str | None = None
    speaker: str | None = None


def row_of_columns(
    line: int, source: str, columns: Mapping[str, str], names: ColumnNames = ColumnNames(), *, is_cut: bool = False
) -> Row:
    """Returns the row that columns, by their names, make; columns without a name are ignored.

    Args:
        line: As in `Row`.
        source: As in `Row`.
        columns: The fields of the line by the names of their columns.
        names: The columns that the user names.
        is_cut: Whether `start` and `end` say where the recording was cut out of another one: then they cut nothing.

    Raises:
        LineError: The recording or the transcript is missing, or a time is none.
    """
    audio_column = names.audio or first_present(AUDIO_COLUMNS, columns)
    text_column = names.text or first_present(TEXT_COLUMNS, columns)
    if audio_column not in columns or text_column not in columns:
        # Only JSON can lack one of them, as a table's header is checked: so NeMo's names are shown.
        wanted = f"'{names.audio or 'audio_filepath'}' and '{names.text or 'text'}'"
        cure = "complete the line, or name others with --audio_column and --text_column"
        raise LineError(source, line, f"needs {wanted}", cure)

    used_columns = ("", audio_column, text_column)
    extra = {name: field for name, field in columns.items() if name not in used_columns and field.strip()}
    if names.speaker and columns.get(names.speaker, "").strip():
        extra["given_speaker"] = columns[names.speaker]
    try:
        start_seconds, seconds = read_segment(extra, is_cut=is_cut)
    except ValueError as error:
        raise LineError(source, line, str(error), "correct it, or rename the column where it is no time") from error
    row = Row(
        line=line,
        source=source,
        audio=columns[audio_column],
        text=columns[text_column],
        extra=extra,
        start_seconds=start_seconds,
        seconds=seconds,
    )
    return _bounded(row)


def _bounded(row: Row) -> Row:
    """Returns a row as it is, or one to be rejected, without the columns that would fill the memory."""
    characters = len(row.text) + sum(map(len, row.extra.values()))
    if characters <= MAX_CHARACTERS:
        return row
    why = f"columns: more than {MAX_CHARACTERS:,} characters of them: leave some out"
    return replace(row, text="", extra={}, unusable=why)


def columns_of_json(
    line: int,
    source: str,
    members: Mapping[str, Any],
    needed: Sequence[tuple[str, ...]] = (AUDIO_COLUMNS, TEXT_COLUMNS),
) -> dict[str, str]:
    """Returns the members of a JSON object as columns.

    Null is an empty column. So is NaN, which pandas has for what is missing, but not where a text or a time is needed:
    there it is a mistake, as are true, a list or an object for a text.

    Args:
        line: Where the object stands, for messages.
        source: As `line`.
        members: The members.
        needed: Names of columns that must be texts, of which the first that is there counts.

    Raises:
        LineError: One of these is neither a text nor a whole number.
    """
    for candidates in needed:
        column = first_present(candidates, members)
        value = members.get(column)
        is_text = isinstance(value, str | int) and not isinstance(value, bool)
        if value is not None and not is_text:
            problem = f"{column} is {json.dumps(value)[:MAX_QUOTED]}, which is no text"
            raise LineError(source, line, problem, "correct it, or remove the line")
    return {name: "" if _is_missing(name, value) else json_text(value) for name, value in members.items()}


def _is_missing(name: str, value: object) -> bool:
    """Whether a member is NaN, and its name not that of a time."""
    is_nan = value != value
    return is_nan and not is_time(name)


def first_present(candidates: tuple[str, ...], names: Collection[str]) -> str:
    """Returns the first candidate that is among the names, or else in other case; an empty string where none is."""
    found = next((name for name in candidates if name in names), "")
    if found:
        return found
    by_lower_case = {name.lower(): name for name in reversed([*names])}
    return next((by_lower_case[name] for name in candidates if name in by_lower_case), "")
