"""One shard: rows to a tar of audio and transcripts, in a worker process. Imports no torch.

A shard's bytes depend on its task and the recordings alone, not on who builds it or when. Until its folder is whole,
its record lies beside it, so that an interrupted build goes on where it was.
"""

import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, TypeAlias

from asrscale import __version__
from asrscale.common.addresses import clean_text, clean_value
from asrscale.common.atomic_files import open_no_link
from asrscale.common.errors import AudioError
from asrscale.corpus.checks import Rules
from asrscale.corpus.payload import Payload, Storage, make_payload
from asrscale.corpus.rejects import Reject, reject_row
from asrscale.corpus.shard_inputs import inputs_of, write_inputs
from asrscale.corpus.shard_record import ShardEntry, ShardRecord, Utterance, read_record, write_record
from asrscale.corpus.tar_writer import json_of_columns, write_end, write_utterance
from asrscale.data.tars import MAX_MEMBER_BYTES
from asrscale.sources.recordings import AudioRoot, recording_file
from asrscale.sources.rows import Row
from asrscale.speech.markup import find_markup
from asrscale.speech.normalisation import steps_of
from asrscale.speech.symbols import lost_symbols

PAST_HOURS = "past max_hours: not in the sample"  # why a row is refused that fulfils the split's rules

DEATHS_TO_BLAME = 2  # times that a worker died with a row in hand: the first may be somebody's kill -9

LISTED_MARKUP = 100  # different annotations and tags of a shard that dataset.json counts, the most frequent

_MOST_BYTES_A_CHARACTER = 12  # in KEY.json: \u and four digits, and those of a speaker twice

_WRITE_BUFFER_BYTES = 1 << 20

# The size of a file in bytes, and when it was changed, in nanoseconds: what a recording counts by.
FileStatus: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Task:
    """One shard to build: the tar `path` of `rows` in their order, with keys that start with `split`.

    Name, fields and their order are part of the hash that is recorded of a shard (`hash_dependencies`): where one
    changes, interrupted builds of older versions begin anew.

    Attributes:
        path: The tar.
        split: Name of the split.
        rows: The rows to store.
        audio_root: Folder or URL, or several, that their recordings lie below.
        rules: What a recording and its transcript have to be.
        codec: What the audio is stored as; `original` keeps the bytes of its file, `in_place` even its tar.
        stop: Whether a row over which our code raises ends the build; else it is rejected.
        deaths: For each time that a worker died over this shard, the number of the row in hand.
        refused: Rows that are in no shard, to be listed with this one's rejects.
    """

    path: str
    split: str
    rows: tuple[Row, ...]
    audio_root: AudioRoot
    rules: Rules
    codec: Storage = "flac"
    stop: bool = False
    deaths: tuple[int, ...] = ()
    refused: tuple[Row, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class PackedRows:
    """What became of the rows of a shard: each is an utterance or a reject.

    Attributes:
        utterances: Those that can be used.
        rejects: The others.
        markup: Of the texts of the utterances.
        symbols: Those that their normalisation left out.
    """

    utterances: tuple[Utterance, ...]
    rejects: tuple[Reject, ...]
    markup: Counter[str]
    symbols: Counter[str]


def build_shard(task: Task, begin: Callable[[int], None]) -> Counter[str]:
    """Writes one shard, whole or not at all, unless an earlier build did.

    Args:
        task: The shard.
        begin: Is called with the number of each row before the row is taken up.

    Returns:
        How many rows were rejected, by reason.

    Raises:
        RuntimeError: Our code raised over a row, and `task.stop` is set; names the row.
    """
    recordings = stat_recordings(task)
    made_of = hash_dependencies(task, recordings)
    record = read_record(task.path)
    if record is None or not _is_up_to_date(record, task, made_of):
        packed = _pack_in_place(task, begin) if task.codec == "in_place" else _write_tar(task, begin)
        record = _describe_shard(task, packed, made_of)
        write_record(task.path, record)
    if task.codec != "in_place":
        write_inputs(task.path, inputs_of(task.path, task.rows, task.refused, recordings))
    return Counter(reject.reason for reject in record.rejects)


def stat_recordings(task: Task) -> list[FileStatus | None]:
    """Returns for each row of a shard what its recording's file is now; None where it is missing."""
    recordings: list[FileStatus | None] = []
    for row in task.rows:
        try:
            status = os.stat(recording_file(row, task.audio_root) or "")
            recordings.append((status.st_size, status.st_mtime_ns))
        except (OSError, ValueError):
            recordings.append(None)
    return recordings


def hash_dependencies(task: Task, recordings: list[FileStatus | None]) -> str:
    """Returns a hash of all that the shard depends on; `recordings` are what `stat_recordings` returns."""
    settled = replace(task, stop=False, deaths=())
    dependencies = repr((__version__, settled, recordings, settled.rules.text, tuple(steps_of(settled.rules.text))))
    return hashlib.sha256(dependencies.encode("utf-8", "backslashreplace")).hexdigest()


def _is_up_to_date(record: ShardRecord, task: Task, made_of: str) -> bool:
    """Whether an earlier build made the same shard, and its tar is still what was recorded."""
    return record.made_of == made_of and record.shard.sha256 == _sha256(task.path)


def _describe_shard(task: Task, packed: PackedRows, made_of: str) -> ShardRecord:
    """Returns the record of a shard whose tar has just been written."""
    lengths = [utterance.num_samples for utterance in packed.utterances]
    entry = ShardEntry(
        file=os.path.basename(task.path),
        bytes=os.path.getsize(task.path),
        sha256=_sha256(task.path),
        utterances=len(lengths),
        samples=sum(lengths),
        longest_samples=max(lengths, default=0),
    )
    return ShardRecord(
        utterances=packed.utterances,
        rejects=packed.rejects,
        made_of=made_of,
        shard=entry,
        refused=refused_rows(task),
        markup=dict(packed.markup.most_common(LISTED_MARKUP)),
        symbols=dict(packed.symbols.most_common()),
    )


def refused_rows(task: Task) -> tuple[Reject, ...]:
    """Returns the lines of rejected.jsonl for the rows that are listed with a shard and are in none."""
    return tuple(reject_row(task.split, row, row.refused or PAST_HOURS) for row in task.refused)


def _write_tar(task: Task, begin: Callable[[int], None]) -> PackedRows:
    """Writes the tar under a temporary name, then gives it its own."""
    temporary = f"{task.path}.{os.getpid()}.tmp"  # not that of a worker whose parent has just been killed
    try:
        with open(temporary, "wb", buffering=_WRITE_BUFFER_BYTES, opener=open_no_link) as tar:
            packed = _pack_rows(task, tar, begin)
            write_end(tar)
        os.replace(temporary, task.path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(temporary)  # a full disk needs the room
    return packed


def _pack_in_place(task: Task, begin: Callable[[int], None]) -> PackedRows:
    """Checks recordings where they lie, in the tar at `task.path`."""
    return _pack_rows(task, None, begin)


def _pack_rows(task: Task, tar: IO[bytes] | None, begin: Callable[[int], None]) -> PackedRows:
    """Writes each usable row to `tar`, or leaves it where it lies if that is None."""
    file = os.path.basename(task.path)
    utterances: list[Utterance] = []
    rejects: list[Reject] = []
    markup: Counter[str] = Counter()
    symbols: Counter[str] = Counter()
    for number, row in enumerate(task.rows):
        begin(number)
        payload = _try_row(task, number, row)
        if isinstance(payload, Reject):
            rejects.append(payload)
            continue
        if tar is None:
            key = _key_in_foreign_tar(row)
            offset = row.tar_offset
        else:
            key = f"{task.split}-{row.line:08d}"
            offset = write_utterance(tar, key, row, payload)
        utterance = Utterance(
            key=key,
            shard=file,
            text=payload.text,
            speaker=clean_value(row.speaker) if row.speaker is not None else None,
            offset=offset,
            size=len(payload.audio),
            crc32=zlib.crc32(payload.audio),
            num_samples=payload.num_samples,
        )
        utterances.append(utterance)
        if task.rules.text.form == "words":
            markup.update(find_markup(clean_text(row.text)))
            symbols.update(lost_symbols(row.text, payload.text, task.rules.text))
    return PackedRows(tuple(utterances), tuple(rejects), markup, symbols)


def _try_row(task: Task, number: int, row: Row) -> Payload | Reject:
    """Returns what to store of a row, or why it is left out.

    Raises:
        RuntimeError: Our code raised over the row, and `task.stop` is set; names the row.
    """
    if task.deaths.count(number) >= DEATHS_TO_BLAME:
        return reject_row(task.split, row, "fault: the worker process died over it, again when it was tried again")
    try:
        if task.codec != "in_place":
            _check_columns(row)
        return make_payload(row, task.audio_root, task.rules, task.codec)
    except AudioError as error:
        return reject_row(task.split, row, str(error))
    except Exception as error:
        if task.stop:
            raise RuntimeError(f"{row.source} line {row.line} ({row.audio}): {error!r}") from error
        return reject_row(task.split, row, f"fault: {error!r}")


def _check_columns(row: Row) -> None:
    """Raises AudioError where the columns of a row make a KEY.json that no command would read."""
    characters = sum(map(len, row.extra)) + sum(map(len, row.extra.values()))
    may_be_too_large = characters > MAX_MEMBER_BYTES // _MOST_BYTES_A_CHARACTER
    if may_be_too_large and len(json_of_columns(row)) > MAX_MEMBER_BYTES:
        raise AudioError(f"columns: more than {MAX_MEMBER_BYTES:,} bytes of them: leave some out")


def _key_in_foreign_tar(row: Row) -> str:
    """Returns the key of a recording in a tar: its name without the extension.

    It is WebDataset's, but for names with several dots: those of `v1.0_a.wav` and `v1.0_b.wav` are both `v1`.
    """
    return os.path.splitext(row.audio)[0]


def _sha256(path: str) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
