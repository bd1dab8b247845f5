"""Reader of Kaldi's data folders, which ESPnet, WeNet and icefall have, too."""

import os
import re
from collections.abc import Iterator

from asrscale.common.errors import CliError
from asrscale.sources.lines import read_lines
from asrscale.sources.rows import Row

# Of a folder, the files that make it one of Kaldi's; the transcripts are in `text`, which Kaldi allows to be missing.
RECORDINGS_FILE = "wav.scp"
TEXT_FILE = "text"

_ARCHIVE_PLACE = re.compile(r".*\.ark:\d+(\[.*\])?")


def is_kaldi_folder(folder: str) -> bool:
    """Whether a folder has the files that Kaldi's data folders have."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in (RECORDINGS_FILE, TEXT_FILE))


def read_kaldi(folder: str) -> Iterator[Row]:
    """Reads a data folder: `wav.scp`, `text` and maybe `segments`, `utt2spk`, `reco2file_and_channel`.

    Each utterance of `text` and of `segments` (of `wav.scp`, where there are no segments) is a row: without transcript
    or recording it is rejected. Paths in `wav.scp` start from where the recipe runs, so they often need an audio root.

    Raises:
        CliError: A recording is the output of a command or in an archive, or a line is not as Kaldi writes it.
    """
    recordings = _read_recordings(folder)
    texts = _read_pairs(folder, TEXT_FILE)
    speakers = _read_pairs(folder, "utt2spk")
    channels = _read_channels(folder)
    segments = _read_segments(folder)
    utterances = dict.fromkeys([*(segments or recordings), *texts])
    source = os.path.join(folder, TEXT_FILE)
    for number, utterance in enumerate(utterances, start=1):
        whole: tuple[str, float | None, float | None] = (utterance, None, None)
        recording, start_seconds, seconds = segments.get(utterance, whole)
        extra = {"id": utterance}
        if utterance in speakers:
            extra["speaker"] = speakers[utterance]
        if recording in channels:
            extra["channel"] = channels[recording]
        yield Row(
            line=number,
            source=source,
            audio=recordings.get(recording, recording),
            text=texts.get(utterance, ""),
            extra=extra,
            start_seconds=start_seconds,
            seconds=seconds,
        )


def _read_recordings(folder: str) -> dict[str, str]:
    """Returns the path of each recording of wav.scp."""
    path = os.path.join(folder, RECORDINGS_FILE)
    recordings: dict[str, str] = {}
    for number, (name, value) in enumerate(_read_pairs(folder, RECORDINGS_FILE).items(), start=1):
        place = f"{path} entry {number} ({name})"
        if value.endswith("|"):
            cure = "run the commands once, and list the files that they write"
            raise CliError(f"{place}: '{value[:80]}' is a command, which is not run: {cure}")
        if _ARCHIVE_PLACE.fullmatch(value):
            cure = "copy the recordings to files, as with wav-copy scp:wav.scp, and list these"
            raise CliError(f"{place}: '{value[:80]}' is a place in Kaldi's archive, which is not read: {cure}")
        recordings[name] = value.strip('"')
    return recordings


def _read_segments(folder: str) -> dict[str, tuple[str, float, float | None]]:
    """Returns recording, start and length in seconds of each utterance; nothing where there is no such file."""
    path = os.path.join(folder, "segments")
    segments: dict[str, tuple[str, float, float | None]] = {}
    for utterance, value in _read_pairs(folder, "segments").items():
        try:
            recording, start, end = value.split()[:3]
            start_seconds, end_seconds = float(start), float(end)
        except ValueError as error:
            raise CliError(f"{path}: {utterance} {value}: give utterance, recording, start, end (s)") from error
        # Kaldi's -1 is the recording's end.
        seconds = end_seconds - start_seconds if end_seconds >= 0 else None
        is_right = start_seconds >= 0 and (seconds is None or 0 < seconds < float("inf"))
        if not is_right:
            raise CliError(f"{path}: {utterance} {value}: ends before it starts: correct it")
        segments[utterance] = (recording, start_seconds, seconds)
    return segments


def _read_channels(folder: str) -> dict[str, str]:
    """Returns the channel of each recording, counted from 0; Kaldi's A and B are the first and the second."""
    channels = {}
    for recording, value in _read_pairs(folder, "reco2file_and_channel").items():
        name = value.split()[-1].upper()
        channels[recording] = {"A": "0", "B": "1"}.get(name, name)
    return channels


def _read_pairs(folder: str, name: str) -> dict[str, str]:
    """Returns what follows the first word of each line, by that word; nothing where there is no such file.

    Raises:
        CliError: A word begins two lines.
    """
    path = os.path.join(folder, name)
    pairs: dict[str, str] = {}
    if not os.path.exists(path):
        return pairs
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        key, *rest = line.strip().split(maxsplit=1)
        if key in pairs:
            raise CliError(f"{path} line {number}: {key} is there a second time: remove one of the lines")
        pairs[key] = rest[0] if rest else ""
    return pairs
