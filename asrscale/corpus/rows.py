"""A row of a source: one recording and its transcript."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from asrscale.common.errors import CliError

# The names of the two columns that matter, the first found is taken: ours and Common Voice v1's, its later TSVs',
# NeMo's, Hugging Face's audio folders'.
AUDIO_COLUMNS = ("filename", "path", "audio_filepath", "file_name")


TEXT_COLUMNS = ("text", "sentence", "transcription")


SPEAKER_COLUMNS = ("client_id", "speaker", "speaker_id")


_SECONDS = re.compile(r"\d+(\.\d*)?(e[-+]?\d{1,2})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One recording and its transcript, as they stand in a source."""

    line: int  # where the row starts in the file, the header being line 1; in folders and tars its number, from 1
    source: str  # the path of the file, folder or tar
    audio: str  # the recording's path below the audio root, or its URL, or its member's name in a tar
    text: str
    extra: dict[str, str]  # the other columns that are not empty, such as up_votes, age, accent
    start_seconds: float | None = None  # given for a segment: where it starts in the recording
    seconds: float | None = None  # how long the source says it is
    tar: str | None = None  # given where the recording is a member of a tar, and where in there
    tar_offset: int = 0
    tar_size: int = 0
    refused: str = ""  # why the split's rules leave it out, `reason: detail`

    @property
    def speaker(self) -> str | None:
        """Who speaks, where the source says so."""
        return next((self.extra[name] for name in SPEAKER_COLUMNS if name in self.extra), None)

    @property
    def segment(self) -> tuple[float, float | None]:
        """Where to start in the recording and for how long to go on, None for to its end."""
        return (0.0, None) if self.start_seconds is None else (self.start_seconds, self.seconds)


def row_of_columns(line: int, source: str, columns: Mapping[str, str]) -> Row:
    """A row of named columns."""
    audio, text = first_present(AUDIO_COLUMNS, columns), first_present(TEXT_COLUMNS, columns)
    if not audio or not text:
        raise CliError(f"{source} line {line}: needs '{AUDIO_COLUMNS[2]}' and '{TEXT_COLUMNS[0]}': complete the line")
    extra = {name: field for name, field in columns.items() if field.strip() and name not in ("", audio, text)}
    for name in ("offset", "duration"):
        if name in extra and not _SECONDS.fullmatch(extra[name].strip()):
            raise CliError(f"{source} line {line}: {name} '{extra[name]}' is no number of seconds: correct it")
    start, seconds = (float(extra[name]) if name in extra else None for name in ("offset", "duration"))
    return Row(line, source, columns[audio], columns[text], extra, start, seconds)


def first_present(candidates: tuple[str, ...], names: Iterable[str]) -> str:
    """The first candidate that is among the names, or nothing."""
    return next((name for name in candidates if name in names), "")
