"""The recordings that a command names, and the file of each one's transcript."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asrscale.common.atomic_files import write_text
from asrscale.common.cli import STDIN
from asrscale.common.errors import AudioError, CliError
from asrscale.common.output_folder import check_writable, disk_errors_as_cli_errors
from asrscale.results.transcript_formats import SUFFIXES, Format, format_transcript
from asrscale.speech.decoding import AUDIO_EXTENSIONS
from asrscale.speech.parts import probe_seconds


@dataclass(frozen=True)
class Recordings:
    """What is transcribed.

    Attributes:
        files: Their paths; `STDIN` for what comes through a pipe.
        outputs: The file of each transcript below the output folder, without what its format ends in.
        notes: Lines about what of folders is left out.
    """

    files: tuple[str, ...]
    outputs: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def find_recordings(named: Sequence[str]) -> Recordings:
    """Returns the recordings of files and folders, each once.

    Folders are searched at any depth, in the order of names, for names that end as those of recordings do. A transcript
    has the place of its recording in the folder, or the name of a file that is named itself.

    Raises:
        CliError: There are none, or two transcripts would be one file.
    """
    outputs: dict[str, Path] = {}
    notes = []
    for name in named:
        if name == STDIN:
            outputs.setdefault(name, Path("stdin"))
        elif os.path.isdir(name):
            found, others = _search(Path(name))
            if others:
                notes.append(f"{name}: {len(found):,} recordings, {others:,} other files are left out")
            for file in found:
                outputs.setdefault(str(file), file.relative_to(name).with_suffix(""))
        else:
            outputs.setdefault(name, Path(Path(name).stem))
    if not outputs:
        raise CliError("no recording is named, or is in a folder that is: give some, as in --model M a.mp3 talks/")
    return Recordings(tuple(outputs), tuple(outputs.values()), tuple(notes))


def _search(folder: Path) -> tuple[list[Path], int]:
    """Returns the recordings of a folder, and how many other files it has; hidden ones are neither."""
    files = [
        Path(place, name)
        for place, _, names in sorted(os.walk(folder))
        if not any(part.startswith(".") for part in Path(place).relative_to(folder).parts)
        for name in sorted(names)
        if not name.startswith(".")
    ]
    found = [file for file in files if file.suffix.lower().lstrip(".") in AUDIO_EXTENSIONS]
    return found, len(files) - len(found)


_LONGEST_SECONDS = 1e6  # headers may say anything


def probe_lengths(files: Sequence[str]) -> dict[str, float] | None:
    """Returns how long each recording is, in seconds; 0 for one that cannot be read; None where one is a pipe."""
    lengths: dict[str, float] = {}
    for file in files:
        if file == STDIN:
            return None
        try:
            seconds = probe_seconds(file) if os.path.isfile(file) else 0.0
        except AudioError:  # it is said when it is read
            seconds = 0.0
        lengths[file] = min(seconds, _LONGEST_SECONDS)
    return lengths


def check_outputs(folder: str, recordings: Recordings, format: Format) -> None:
    """Raises CliError where a transcript of each recording cannot be written to a folder."""
    recording_of: dict[Path, str] = {}
    for file, output in zip(recordings.files, recordings.outputs, strict=True):
        other = recording_of.setdefault(output, file)
        if other != file:
            name = output.with_name(output.name + SUFFIXES[format])
            raise CliError(f"--out: {other} and {file} would both be {name}: name their folder instead, or rename one")
    check_writable("--out", Path(folder, "any"))


def write_transcript(folder: str, output: Path, row: dict[str, Any], format: Format, *, by_word: bool) -> Path:
    """Writes the transcript of a recording, as `format_transcript` makes it; returns its file.

    Raises:
        CliError: The disk does not take it.
    """
    path = Path(folder, output.with_name(output.name + SUFFIXES[format]))
    with disk_errors_as_cli_errors("--out", folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, format_transcript(row, format, by_word=by_word))
    return path
