"""Reader of lhotse's manifests: cuts, recordings with supervisions, and Shar folders.

A supervision, which has a transcript, is a row. Rows are numbered through, because a cut may have several.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from asrscale.common.errors import CliError
from asrscale.common.storage import Range
from asrscale.data.tars import tar_members
from asrscale.sources.lines import read_objects
from asrscale.sources.rows import Row
from asrscale.sources.tar_samples import row_in_tar

# What lhotse's Resample leaves unchanged is all that matters here; others change the sound, its speed or its volume.
_HARMLESS_TRANSFORMS = ("Resample",)

# A segment that ends so close to the end of its recording ends there: lhotse rounds to so many digits.
_SAME_TIME_SECONDS = 1e-3

_SHAR_FILE = re.compile(r"(cuts|recording)\.(\d+)\.(jsonl\.gz|jsonl|tar)")

# Members of a supervision that are fields of a row, or of no use in one.
_USED_MEMBERS = ("text", "start", "duration", "channel", "recording_id", "alignment")


@dataclass(frozen=True)
class _Recording:
    """A recording of a manifest.

    Attributes:
        audio: Its path, URL or, in Shar, the key of its member.
        seconds: Its length.
        num_channels: How many channels it has.
    """

    audio: str
    seconds: float
    num_channels: int


def kind_of_manifest(first_object: Mapping[str, Any]) -> str:
    """Returns which of lhotse's manifests begins so: `cuts`, `recordings`, `supervisions`; or an empty string."""
    members = first_object.keys()
    if "tracks" in members or {"recording", "supervisions"} <= members:
        return "cuts"
    if {"sources", "sampling_rate", "num_samples"} <= members:
        return "recordings"
    return "supervisions" if {"recording_id", "start", "duration", "channel"} <= members else ""


def read_cuts(path: str) -> Iterator[Row]:
    """Reads a manifest of cuts, each with its recording.

    Raises:
        CliError: A cut is mixed of several, or its recording is changed on the fly, made by a command, or elsewhere.
    """
    numbers = count(1)
    for line, cut in read_objects(path):
        yield from _rows_of_cut(cut, f"{path} line {line}", path, numbers)


def read_supervisions(recordings_path: str, supervisions_path: str) -> Iterator[Row]:
    """Reads a manifest of supervisions, whose recordings are in another; each may be the other's partner.

    Raises:
        CliError: As `read_cuts`, or a recording is not in its manifest.
    """
    recordings = {
        str(recording.get("id")): _read_recording(recording, f"{recordings_path} line {line}")
        for line, recording in read_objects(recordings_path)
    }
    for line, supervision in read_objects(supervisions_path):
        place = f"{supervisions_path} line {line}"
        recording = recordings.get(str(supervision.get("recording_id")))
        if recording is None:
            name = supervision.get("recording_id")
            raise CliError(f"{place}: recording '{name}' is not in {recordings_path}: add it there")
        yield _row_of_supervision(supervision, recording, 0.0, place=place, source=supervisions_path, number=line)


def partner_manifest(path: str, kind: str) -> tuple[str, str]:
    """Returns the manifests of recordings and of supervisions, of which `path` is the one of this kind.

    Raises:
        CliError: The other one does not lie beside it.
    """
    other_kind = "supervisions" if kind == "recordings" else "recordings"
    folder, name = os.path.split(path)
    partner = os.path.join(folder, name.replace(kind, other_kind))
    if kind not in name or not os.path.exists(partner):
        cure = f"put lhotse's manifest of {other_kind} beside it, with '{other_kind}' for '{kind}' in its name"
        raise CliError(f"{path}: a manifest of {kind} without its {other_kind}: {cure}")
    return (path, partner) if kind == "recordings" else (partner, path)


def is_shar(names: Iterable[str]) -> bool:
    """Whether file names are those of a Shar folder."""
    return any(name.startswith("cuts.") and _SHAR_FILE.fullmatch(name) for name in names)


def read_shar(folder: str) -> Iterator[Row]:
    """Reads a Shar folder: cuts.N.jsonl.gz, their recordings in recording.N.tar.

    Raises:
        CliError: As `read_cuts`, or a tar is missing.
    """
    numbers = count(1)
    for name in sorted(os.listdir(folder)):
        match = _SHAR_FILE.fullmatch(name)
        if not match or match[1] != "cuts":
            continue
        cuts_path = os.path.join(folder, name)
        tar = os.path.join(folder, f"recording.{match[2]}.tar")
        if not os.path.exists(tar):
            cure = "copy it, or export the cuts with their audio: to_shar(…, fields={'recording': 'flac'})"
            raise CliError(f"{cuts_path}: no {tar}, which has its recordings: {cure}")
        places = _recordings_by_key(tar)
        for line, cut in read_objects(cuts_path):
            for row in _rows_of_cut(cut, f"{cuts_path} line {line}", cuts_path, numbers):
                yield _found_in_shar(row, str(cut.get("id")), places)


def _recordings_by_key(tar: str) -> dict[str, tuple[str, Range]]:
    """Returns name and place of each recording of a tar by its cut; beside each lies its manifest, a JSON."""
    members = [(os.path.splitext(member), place) for member, place in tar_members(tar)]
    return {key: (key + extension, place) for (key, extension), place in members if extension != ".json"}


def _found_in_shar(row: Row, key: str, places: Mapping[str, tuple[str, Range]]) -> Row:
    """Returns a row with the place of its cut's recording, or one that will be missing."""
    if key not in places:
        return replace(row, audio=key)
    member, place = places[key]
    return row_in_tar(replace(row, audio=member), place)


def _rows_of_cut(cut: Mapping[str, Any], place: str, source: str, numbers: Iterator[int]) -> Iterator[Row]:
    """Yields a row for each supervision of a cut, or one without text where it has none."""
    if "tracks" in cut or cut.get("type", "MonoCut") not in ("MonoCut", "MultiCut"):
        raise CliError(f"{place}: a {cut.get('type', 'MixedCut')}, which is made of several: {_CURE_SAVE_AUDIO}")
    if not isinstance(cut.get("recording"), dict):
        raise CliError(f"{place}: a cut without a recording: {_CURE_SAVE_AUDIO}")
    recording = _read_recording(cut["recording"], place)
    cut_start = _number(cut, "start", place)
    whole_cut = {"start": 0.0, "duration": _number(cut, "duration", place), "channel": cut.get("channel")}
    for supervision in cut.get("supervisions") or [whole_cut]:
        yield _row_of_supervision(supervision, recording, cut_start, place=place, source=source, number=next(numbers))


_CURE_SAVE_AUDIO = "save its audio in lhotse first, as with CutSet.save_audios(FOLDER).to_file(…)"


def _row_of_supervision(
    supervision: Mapping[str, Any], recording: _Recording, cut_start: float, *, place: str, source: str, number: int
) -> Row:
    """Returns the row of a supervision; its start counts from `cut_start` in the recording, in seconds."""
    # lhotse allows a supervision to begin before its cut.
    start = max(0.0, cut_start + _number(supervision, "start", place))
    seconds = _number(supervision, "duration", place)
    is_whole = start < _SAME_TIME_SECONDS and abs(seconds - recording.seconds) < _SAME_TIME_SECONDS
    extra = {name: _field(value) for name, value in supervision.items() if name not in _USED_MEMBERS}
    channel = supervision.get("channel")
    if recording.num_channels > 1 and isinstance(channel, int):
        extra["channel"] = str(channel)
    return Row(
        line=number,
        source=source,
        audio=recording.audio,
        text=str(supervision.get("text") or ""),
        extra={name: field for name, field in extra.items() if field.strip()},
        start_seconds=None if is_whole else start,
        seconds=seconds,
    )


def _read_recording(recording: Mapping[str, Any], place: str) -> _Recording:
    """Returns a manifest's recording; raises CliError where it is not simply a file."""
    transforms = [transform.get("name") for transform in recording.get("transforms") or []]
    changed_by = [str(name) for name in transforms if name not in _HARMLESS_TRANSFORMS]
    if changed_by:
        raise CliError(f"{place}: its recording is changed on the fly ({', '.join(changed_by)}): {_CURE_SAVE_AUDIO}")
    sources = recording.get("sources") or []
    kinds = [source.get("type") for source in sources]
    if len(sources) != 1 or kinds[0] not in ("file", "url", "shar"):
        described = " and ".join(map(str, kinds)) or "nothing"
        raise CliError(f"{place}: its recording is read from {described}, not from one file: {_CURE_SAVE_AUDIO}")
    return _Recording(
        audio=str(sources[0].get("source")),
        seconds=_number(recording, "duration", place),
        num_channels=len(sources[0].get("channels") or [0]),
    )


def _number(members: Mapping[str, Any], name: str, place: str) -> float:
    """Returns a number of seconds; raises CliError where it is missing or none."""
    value = members.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise CliError(f"{place}: {name} '{value}' is no number of seconds: correct it")
    return float(value)


def _field(value: Any) -> str:
    """Returns a member as the field of a column."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
