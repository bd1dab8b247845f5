"""A row of a source: one recording and its transcript."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from asrscale.common.errors import CliError

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


START_COLUMN = "offset"  # NeMo's: where a segment starts in its recording, in seconds


LENGTH_COLUMN = "duration"  # NeMo's: how long the recording or segment is, in seconds


_NUMBER_OF_SECONDS = re.compile(r"\d+(\.\d*)?(e[-+]?\d{1,2})?", re.ASCII | re.IGNORECASE)


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

    @property
    def speaker(self) -> str | None:
        """The speaker's name, or None where the source gives none."""
        return next((self.extra[name] for name in SPEAKER_COLUMNS if name in self.extra), None)

    @property
    def segment(self) -> tuple[float, float | None]:
        """Where to start in the recording and how much of it to take, in seconds; None is to its end."""
        if self.start_seconds is None:
            # A duration alone is not trusted: NeMo's an4_train.json gives 2 s for recordings of 1 s.
            return 0.0, None
        return self.start_seconds, self.seconds


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


def row_of_columns(line: int, source: str, columns: Mapping[str, str], names: ColumnNames = ColumnNames()) -> Row:
    """Returns the row that columns, by their names, make; columns without a name are ignored.

    Raises:
        CliError: The recording or the transcript is missing, or `offset` or `duration` is no number of seconds; names
            source and line.
    """
    audio_column = names.audio or first_present(AUDIO_COLUMNS, columns)
    text_column = names.text or first_present(TEXT_COLUMNS, columns)
    if audio_column not in columns or text_column not in columns:
        # Only JSON can lack one of them, as a table's header is checked: so NeMo's names are shown.
        wanted = f"'{names.audio or 'audio_filepath'}' and '{names.text or 'text'}'"
        cure = "complete the line, or name others with --audio_column and --text_column"
        raise CliError(f"{source} line {line}: needs {wanted}: {cure}")

    used_columns = ("", audio_column, text_column)
    extra = {name: field for name, field in columns.items() if name not in used_columns and field.strip()}
    if names.speaker and columns.get(names.speaker, "").strip():
        extra["given_speaker"] = columns[names.speaker]
    place = f"{source} line {line}"
    start_seconds = _seconds_in_column(START_COLUMN, extra, place)
    seconds = _seconds_in_column(LENGTH_COLUMN, extra, place)
    return Row(
        line=line,
        source=source,
        audio=columns[audio_column],
        text=columns[text_column],
        extra=extra,
        start_seconds=start_seconds,
        seconds=seconds,
    )


def _seconds_in_column(column: str, columns: Mapping[str, str], place: str) -> float | None:
    """Returns a column's number of seconds, or None where the row has no such column; `place` is for the error."""
    if column not in columns:
        return None
    field = columns[column]
    if not _NUMBER_OF_SECONDS.fullmatch(field.strip()):
        raise CliError(f"{place}: {column} '{field}' is no number of seconds: correct it")
    return float(field)


def first_present(candidates: tuple[str, ...], names: Collection[str]) -> str:
    """Returns the first candidate that is among the names, or else in other case; an empty string where none is."""
    found = next((name for name in candidates if name in names), "")
    if found:
        return found
    by_lower_case = {name.lower(): name for name in reversed([*names])}
    return next((by_lower_case[name] for name in candidates if name in by_lower_case), "")
