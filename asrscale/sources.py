"""Corpora to rows: CSV, Common Voice's TSV, JSON lines, LJSpeech, LibriSpeech, WebDataset tars; rows to recordings."""

import csv
import io
import json
import os
import posixpath
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import chain, count
from typing import Literal

from asrscale.errors import AudioError, CliError, DataError
from asrscale.storage import Range, is_remote, open_binary, read_bytes, read_ranges

# The names of the two columns that matter, the first found is taken: ours and Common Voice v1's, its later TSVs',
# NeMo's, Hugging Face's audio folders'.
AUDIO_COLUMNS = ("filename", "path", "audio_filepath", "file_name")
TEXT_COLUMNS = ("text", "sentence", "transcription")
SPEAKER_COLUMNS = ("client_id", "speaker", "speaker_id")
# What a row may fetch by itself; file:// or a chain of protocols would lead around the audio root.
ROW_PROTOCOLS = ("s3://", "gs://", "http://", "https://")
AUDIO_EXTENSIONS = ("flac", "wav", "mp3", "ogg", "opus", "aiff", "aif", "au", "caf", "w64")  # in tars
_SECONDS = re.compile(r"\d+(\.\d*)?(e[-+]?\d{1,2})?", re.ASCII | re.IGNORECASE)
MAX_MEMBER_BYTES = 1 << 20  # of a text or JSON in a tar: no transcript is longer, and more could fill the memory


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


def read_source(path: str, audio_root: str | None = None) -> tuple[Iterator[Row], str]:
    """Reads a corpus of any known format, told by its content; a remote one where it is a single file.

    | source | told by | audio root where none is given |
    |---|---|---|
    | CSV with a header, UTF-8 | columns as in AUDIO_COLUMNS and TEXT_COLUMNS | the file's folder |
    | TSV of Common Voice, without quotes | tabs in the header | `clips` beside it |
    | JSON lines, as NeMo's; with `shard_id`, audio_0.tar … beside it | `{` | the file's folder |
    | LJSpeech's metadata.csv | bars between the fields, no header | `wavs` beside it |
    | *.trans.txt of LibriSpeech, WebDataset tars; files or folders of them | their names | the folder |

    Returns:
        The rows in the order of the source, and the folder or URL that their recordings lie below.

    Raises:
        CliError: The source is missing, empty or of no such format, or a row is damaged; names file and line.
    """
    is_folder = os.path.isdir(path)
    folder = path if is_folder else os.path.dirname(path)
    names = sorted(os.path.join(at, name) for at, _, names in os.walk(path) for name in names) if is_folder else [path]
    if texts := [name for name in names if name.endswith(".trans.txt")]:
        rows, root = _read_trans(texts, folder), folder
    elif tars := [name for name in names if name.endswith(".tar")]:
        rows, root = _read_tars(tars), folder
    elif is_folder and os.path.join(path, "metadata.csv") not in names:
        raise CliError(f"{path}: a folder without *.trans.txt, metadata.csv or *.tar: give the file with transcripts")
    else:
        rows, root = _read_file(os.path.join(path, "metadata.csv") if is_folder else path, folder)
    first = next(rows, None)
    if not first:
        raise CliError(f"{path}: has a header but no rows: add one row a recording")
    movable = not (audio_root or first.tar or is_remote(root))
    prefix = _foreign_prefix(path, first.audio, root) if movable else ""
    rows = (replace(row, audio=row.audio.removeprefix(prefix)) if prefix else row for row in chain([first], rows))
    return rows, audio_root or root or "."


def audio_path(row: Row, audio_root: str) -> str:
    """Where the row's recording lies: a path, or a URL; raises AudioError for one that leaves `audio_root`."""
    if row.audio.startswith(ROW_PROTOCOLS):
        return row.audio
    if is_remote(audio_root):
        protocol, _, root = audio_root.rstrip("/").partition("://")
        path = posixpath.normpath(posixpath.join(root, row.audio))
        path, inside = f"{protocol}://{path}", path.startswith(f"{root}/")
    else:
        path = os.path.abspath(os.path.join(audio_root, row.audio))
        inside = "\0" not in path and _is_below(path if os.path.islink(path) else os.path.dirname(path), audio_root)
    if not inside:
        raise AudioError("path outside the audio root: move the recording below it, or give another --audio_root")
    return path


@lru_cache  # a folder has many recordings, and `realpath` asks for every folder above each time
def _is_below(path: str, root: str) -> bool:
    """Whether `path`, its symbolic links followed, is `root` or lies below it."""
    real = os.path.realpath(root)
    return os.path.commonpath((real, os.path.realpath(path))) == real


def open_audio(row: Row, audio_root: str) -> str | io.BytesIO:
    """What `audio.decode` takes for the row: the path of a local file, the content of one in a tar or behind a URL.

    Raises:
        AudioError: `category: detail`; it is missing, outside the root, or cannot be fetched.
        DataError: The tar is gone since it was listed.
    """
    if row.tar:
        [data] = read_ranges([Range(row.tar, row.tar_offset, row.tar_size)])
        if isinstance(data, Exception):
            raise AudioError(f"unreadable: {row.tar}: {data}")
        return io.BytesIO(data)
    path = audio_path(row, audio_root)
    if not is_remote(path):
        if not os.path.isfile(path):
            raise AudioError("missing file: not below the audio root")
        return path
    try:
        return io.BytesIO(read_bytes(path))
    except (OSError, DataError) as error:
        raise AudioError(f"missing file: {error}") from error


def _read_file(path: str, folder: str) -> tuple[Iterator[Row], str]:
    """The rows of a table or manifest in `folder`, and its audio root."""
    header = next((line for line in _lines(path) if line.strip()), "")
    if header.lstrip().startswith("{"):
        return _read_json_lines(path), folder
    if "|" in header:
        return _read_ljspeech(path), os.path.join(folder, "wavs")
    rows = _read_table(path, "\t" if "\t" in header else ",")
    return rows, os.path.join(folder, "clips") if "client_id" in header.split("\t") else folder


def _read_table(path: str, delimiter: str) -> Iterator[Row]:
    """A CSV or TSV with a header, whose columns without a name are ignored: Common Voice v1's test CSV ends in some."""
    records = _read_records(path, delimiter)
    _, header = next(records, (1, []))
    names = [name.strip() for name in header]
    named = max((position for position, name in enumerate(names, start=1) if name), default=0)
    for candidates in (AUDIO_COLUMNS, TEXT_COLUMNS):
        if names.count(_first(candidates, names) or candidates[0]) != 1:
            needed = f"needs one column '{candidates[0]}', the header has {', '.join(names[:named]) or 'nothing'}"
            raise CliError(f"{path} line 1: {needed}: name the columns so ({' or '.join(candidates[1:])} will do, too)")
    for line, fields in records:  # strict: a text with a comma but no quotes would lose its end without a word
        if not named <= len(fields) <= len(names) or any(fields[named:]):
            cure = "complete the row, and put quotes around a text that holds a comma"
            raise CliError(f"{path} line {line}: {len(fields)} fields where the header has {named}: {cure}")
        yield _row(line, path, dict(zip(names, fields, strict=False)))


def _read_json_lines(path: str) -> Iterator[Row]:
    """A manifest: an object a line with `audio_filepath`, `text`, and maybe `duration`, `offset` and `shard_id`."""
    members: dict[str, dict[str, Range]] = {}  # of the tars beside it, by the number in their names
    for line, content in enumerate(_lines(path), start=1):
        if not content.strip():
            continue
        row = _row(line, path, _json_object(content, f"{path} line {line}"))
        if (shard := row.extra.get("shard_id", "")).isdigit():
            if shard not in members:
                members[shard] = dict(tar_members(os.path.join(os.path.dirname(path), f"audio_{shard}.tar")))
            # NeMo lists a recording again, as -sub1, for its every further segment.
            name = re.sub(r"-sub\d+(?=\.\w+$)", "", row.audio)
            if place := members[shard].get(row.audio) or members[shard].get(name):
                row = _in_tar(row, place)
        yield row


def _read_ljspeech(path: str) -> Iterator[Row]:
    """LJSpeech's metadata.csv: `id|text|normalised text`, the recording in wavs/id.wav."""
    for line, fields in _read_records(path, "|"):
        if len(fields) not in (2, 3):
            raise CliError(f"{path} line {line}: {len(fields)} fields between bars: give id|text|normalised text")
        yield Row(line, path, f"{fields[0]}.wav", fields[-1].strip() or fields[1], {})


def _read_trans(paths: list[str], root: str) -> Iterator[Row]:
    """LibriSpeech's *.trans.txt: `speaker-chapter-number TEXT` a line, the recording beside it as .flac."""
    lines = ((path, line) for path in paths for line in _lines(path) if line.strip())
    for number, (path, line) in enumerate(lines, start=1):
        name, _, text = line.strip().partition(" ")
        audio = os.path.relpath(os.path.join(os.path.dirname(path), f"{name}.flac"), root or ".")
        yield Row(number, path, audio, text, {"speaker": name.partition("-")[0]})


def _read_tars(paths: list[str]) -> Iterator[Row]:
    """WebDataset tars: KEY.flac or another AUDIO_EXTENSIONS, its transcript in KEY.txt or the `text` of KEY.json."""
    numbers = count(1)
    for path in paths:
        places: dict[str, Range] = {}
        records: dict[str, dict[str, str]] = {}
        for name, place in tar_members(path):
            dot = name.find(".", name.rfind("/") + 1)  # a key ends at the first dot of the last part
            key, extension = name[:dot], name[dot + 1 :]
            record = records.setdefault(key, {"text": ""})
            if extension in AUDIO_EXTENSIONS:
                if key in places:
                    raise CliError(f"{path}: {name} is the second recording with the key {key}: rename it")
                places[key], record["filename"] = place, name
            elif extension in ("txt", "json") and place.size <= MAX_MEMBER_BYTES:
                content = _content(place, name)
                record |= {"text": content} if extension == "txt" else _json_object(content, f"{path} {name}")
        for key, place in places.items():
            yield _in_tar(_row(next(numbers), path, records[key]), place)


def _content(place: Range, name: str) -> str:
    [data] = read_ranges([place])
    try:
        return str(data, "utf-8")  # type: ignore[arg-type]
    except (TypeError, UnicodeDecodeError) as error:  # TypeError: why it cannot be read
        raise CliError(f"{place.path}: member {name} is no UTF-8 text: correct it") from error


def _in_tar(row: Row, place: Range) -> Row:
    return replace(row, tar=place.path, tar_offset=place.start, tar_size=place.size)


def tar_members(path: str) -> Iterator[tuple[str, Range]]:
    """The regular files of a tar: their names, which are never used as paths, and where their contents lie.

    Raises:
        CliError: The tar is missing, compressed or damaged; Python's tarfile takes a bad header for the end.
    """
    try:
        with open_binary(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    yield member.name, Range(path, member.offset_data, member.size)
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no header and no end at byte {tar.offset:,}")
    except (OSError, tarfile.TarError) as error:
        why = getattr(error, "strerror", None) or error
        raise CliError(f"{path}: {why}: give a whole tar that is not compressed, or copy it again") from error


def read_records(path: str) -> dict[str, dict[str, str]]:
    """What each KEY.json of a WebDataset tar says, by its key."""
    places = {name[:-5]: place for name, place in tar_members(path) if name.endswith(".json")}
    return {key: _json_object(_content(place, key), f"{path} {key}") for key, place in places.items()}


def _row(line: int, source: str, columns: Mapping[str, str]) -> Row:
    """A row of named columns."""
    audio, text = _first(AUDIO_COLUMNS, columns), _first(TEXT_COLUMNS, columns)
    if not audio or not text:
        raise CliError(f"{source} line {line}: needs '{AUDIO_COLUMNS[2]}' and '{TEXT_COLUMNS[0]}': complete the line")
    extra = {name: field for name, field in columns.items() if field.strip() and name not in ("", audio, text)}
    for name in ("offset", "duration"):
        if name in extra and not _SECONDS.fullmatch(extra[name].strip()):
            raise CliError(f"{source} line {line}: {name} '{extra[name]}' is no number of seconds: correct it")
    start, seconds = (float(extra[name]) if name in extra else None for name in ("offset", "duration"))
    return Row(line, source, columns[audio], columns[text], extra, start, seconds)


def _first(candidates: tuple[str, ...], names: Iterable[str]) -> str:
    """The first candidate that is among the names, or nothing."""
    return next((name for name in candidates if name in names), "")


@cache  # said once, however often the source is read
def _foreign_prefix(source: str, audio: str, root: str) -> str:
    """What to take off all paths of a manifest that moved with its recordings, so that `audio`, the first, is found."""
    ends = [0, *(slash.end() for slash in re.finditer("/+", audio))]
    # Never its own folder: Common Voice v1 has the same names in every split.
    end = next((end for end in ends[:-1] if os.path.exists(os.path.join(root, audio[end:]))), 0)
    if end:
        print(f"{source}: no {audio[:end]} here, so it is taken off the paths of recordings", file=sys.stderr)
    return audio[:end]


def _lines(path: str) -> Iterator[str]:
    """The lines of a text file with their ends."""
    number = 1
    try:
        with open_binary(path) as file:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except OSError as error:
        raise CliError(f"{path}: {error.strerror or error}: give the path of a CSV file or another corpus") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{path} line {number}: not UTF-8: convert the file, as with iconv -t UTF-8") from error


def _read_records(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the line it starts on; only commas come with quotes."""
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    # strict: a quote left open must not eat the rest
    reader = csv.reader(_lines(path), delimiter=delimiter, quoting=quoting, strict=True)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise CliError(f"{path} line {line}: {error}: correct the quotes") from error


def _json_object(content: str, place: str) -> dict[str, str]:
    """A JSON object's members as text; no text where they are null."""
    try:
        members = json.loads(content).items()
        record = {name: "" if it is None else it if isinstance(it, str) else json.dumps(it) for name, it in members}
        "".join([*record, *record.values()]).encode()
    except (ValueError, AttributeError, RecursionError) as error:  # ValueError also where UTF-8 cannot hold a text
        raise CliError(f"{place}: not a JSON object ({' '.join(str(error).split())}): correct it") from error
    return record
