"""Readers of tars that hold recordings and transcripts."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from asrscale.common.errors import CliError
from asrscale.common.storage import Range
from asrscale.data.tars import all_members, json_members, read_text_member, split_member_name
from asrscale.sources.rows import AUDIO_COLUMNS, TEXT_COLUMNS, Row, columns_of_json, first_present, row_of_columns
from asrscale.speech.decoding import AUDIO_EXTENSIONS
from asrscale.speech.normalisation import normalise

_TEXT_EXTENSION = "txt"
_JSON_EXTENSION = "json"

_NAMED_MEMBERS = 4  # in a message


def read_tars(paths: list[str]) -> Iterator[Row]:
    """Reads WebDataset tars: a recording KEY.flac (or another of AUDIO_EXTENSIONS) with KEY.txt or KEY.json.

    The transcript is KEY.txt or the text in KEY.json, whose other members are columns of the row. The rows of all tars
    are numbered together, in each tar the recordings first, then the keys that have none. A row that cannot be used is
    there, too, and says why in `unusable`: nothing that is in a tar vanishes.
    """
    numbers = count(1)
    for path in paths:
        for sample in _read_samples(path):
            yield _row_of_sample(next(numbers), path, sample)


def row_in_tar(row: Row, place: Range) -> Row:
    """Returns the row with the place of its recording in a tar."""
    return replace(row, tar=place.path, tar_offset=place.start, tar_size=place.size)


@dataclass(frozen=True)
class _Member:
    """A file in a tar.

    Attributes:
        name: Its name.
        place: Where its content lies; None for what is no regular file, such as a link.
        key: WebDataset's key.
        suffix: What follows the last dot of the name, in lower case.
        stem: The name without its last dot and what follows: the key, but for names with several dots.
    """

    name: str
    place: Range | None
    key: str
    suffix: str
    stem: str


def _member(name: str, place: Range | None) -> _Member:
    """Returns a member by its name."""
    key, extension = split_member_name(name)
    suffix = extension.rpartition(".")[2]
    stem = name[: -len(suffix) - 1] if suffix else name
    return _Member(name, place, key, suffix, stem)


@dataclass(frozen=True)
class _Sample:
    """What will be a row: a recording, or the first of a key's members where it has none, and its transcripts."""

    recording: _Member
    transcripts: tuple[_Member, ...]
    unusable: str = ""


def _read_samples(path: str) -> Iterator[_Sample]:
    """Yields the samples of a tar: a sample for each recording, then one for each key that has none."""
    recordings: list[_Member] = []
    others: defaultdict[str, list[_Member]] = defaultdict(list)  # by key
    for name, place in all_members(path):
        member = _member(name, place)
        if member.suffix in AUDIO_EXTENSIONS:
            recordings.append(member)
        else:
            others[member.key].append(member)

    samples_by_key: defaultdict[str, list[_Sample]] = defaultdict(list)
    for recording in recordings:
        samples = samples_by_key[recording.key]
        sample = _sample_of_recording(recording, samples, others.get(recording.key, []))
        samples.append(sample)
        yield sample

    for key, members in others.items():
        left = _members_without_recording(members, samples_by_key.get(key, []))
        if left:
            yield _sample_without_recording(left)


def _sample_of_recording(recording: _Member, before: Sequence[_Sample], others: Sequence[_Member]) -> _Sample:
    """Returns the sample of a recording.

    WebDataset's key of `v1.0_a.wav` and `v1.0_b.wav` is `v1`, for both. Here each of them has the transcript that is
    named as it is; without one, the first has that of the key, and any other is the second recording of its key.

    Args:
        recording: The recording.
        before: The samples of the recordings before it with the same key.
        others: The members with the same key that are no recordings.
    """
    transcripts = [member for member in others if member.suffix in (_TEXT_EXTENSION, _JSON_EXTENSION)]
    own = [member for member in transcripts if member.stem == recording.stem]
    of_key = [member for member in transcripts if member.stem == recording.key]
    is_taken = any(sample.recording.stem == recording.stem for sample in before)
    if is_taken or (before and not own):
        first = before[0].recording.name
        unusable = f"second recording: {first} in the same tar has the key {recording.key}, too"
    elif recording.place is None:
        unusable = f"not a file: {recording.name} is a link, sparse or a device"
    else:
        unusable = ""
    return _Sample(recording, tuple(own or of_key), unusable)


def _members_without_recording(members: Sequence[_Member], samples: Sequence[_Sample]) -> list[_Member]:
    """Returns the members of a key, none of them a recording, that miss one.

    Where the key has recordings, these are only the transcripts named like a further one: `v1.0_c.txt` where there are
    `v1.0_a.wav` and `v1.0_b.wav`. Other members belong to the samples, such as an image.
    """
    if not samples:
        return list(members)
    stems = {sample.recording.stem for sample in samples}
    key = samples[0].recording.key
    if key in stems:
        return []
    return [member for member in members if member.suffix == _TEXT_EXTENSION and member.stem not in {*stems, key}]


def _sample_without_recording(members: Sequence[_Member]) -> _Sample:
    """Returns the sample of a key that has no recording."""
    transcripts = tuple(member for member in members if member.suffix in (_TEXT_EXTENSION, _JSON_EXTENSION))
    unknown = [member for member in members if member not in transcripts]
    if unknown:
        unusable = f"unknown extension: {_names(unknown)} is not known as audio by its name"
    else:
        unusable = f"no recording: the key has only {_names(transcripts)}"
    return _Sample([*unknown, *transcripts][0], transcripts, unusable)


def _names(members: Sequence[_Member]) -> str:
    """Returns the names of members for a message."""
    names = ", ".join(member.name for member in members[:_NAMED_MEMBERS])
    left = len(members) - _NAMED_MEMBERS
    return f"{names} and {left:,} more" if left > 0 else names


def _row_of_sample(number: int, path: str, sample: _Sample) -> Row:
    """Returns the row of a sample; `path` is its tar's."""
    name = sample.recording.name
    place = sample.recording.place or Range(path, 0, 0)
    unusable = sample.unusable
    try:
        columns = _read_columns(number, path, sample.transcripts)
        has_text = bool(first_present(TEXT_COLUMNS, columns))
        text_if_none = {} if has_text else {TEXT_COLUMNS[0]: ""}
        row = row_of_columns(number, path, columns | text_if_none | {AUDIO_COLUMNS[0]: name}, is_cut=True)
        if not has_text:
            unusable = unusable or f"no transcript: {_lack_of_text(name, list(columns))}"
    except (CliError, ValueError) as error:
        row = Row(line=number, source=path, audio=name, text="", extra={})
        unusable = unusable or f"unusable transcript: {error}"
    return replace(row, tar=place.path, tar_offset=place.start, tar_size=place.size, unusable=unusable)


def _lack_of_text(name: str, columns: Sequence[str]) -> str:
    """Returns what a recording has instead of a transcript: nothing, or a .json with these members."""
    if not columns:
        return f"{name} has no .txt and no .json with a text"
    named = ", ".join(columns[:_NAMED_MEMBERS])
    return f"{name} has no .txt, and none of its .json's members ({named}) is known as a text"


def _read_columns(number: int, path: str, transcripts: Sequence[_Member]) -> dict[str, str]:
    """Returns the columns that the transcripts of a sample give, among them its text where they have one.

    Raises:
        CliError: A transcript cannot be read, or two do not agree.
        ValueError: A .json holds no JSON object.
    """
    texts = _contents(transcripts, _TEXT_EXTENSION)
    text_columns = TEXT_COLUMNS[:1] if texts else TEXT_COLUMNS
    columns: dict[str, str] = {}
    for content in _contents(transcripts, _JSON_EXTENSION):
        columns |= columns_of_json(number, path, json_members(content), (text_columns,))

    for text in texts:
        text_of_json = columns.get(TEXT_COLUMNS[0], "")
        if text_of_json and normalise(text_of_json) != normalise(text):
            raise CliError(f"{_names(transcripts)} have different texts: correct one of them")
        columns[TEXT_COLUMNS[0]] = text
    return columns


def _contents(transcripts: Sequence[_Member], suffix: str) -> list[str]:
    """Returns the content of the transcripts with a suffix: none, or one.

    Raises:
        CliError: It cannot be read, or there are several that differ.
    """
    chosen = [member for member in transcripts if member.suffix == suffix]
    contents: set[str] = set()
    for member in chosen:
        if member.place is None:
            raise CliError(f"{member.name} is a link, sparse or a device: store the file itself")
        contents.add(read_text_member(member.place, member.name))
    if len(contents) > 1:
        raise CliError(f"{_names(chosen)} have the same key and are different: remove one of them")
    return list(contents)
