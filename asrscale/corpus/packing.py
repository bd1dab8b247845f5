"""The rows of a shard to the members of its tar, or to a list of what can be used in a tar that exists."""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import IO, TypeVar

from asrscale.common.addresses import clean_text, clean_value
from asrscale.common.errors import AudioError
from asrscale.corpus.payload import Payload, PreparedRow, make_payload, prepare_row
from asrscale.corpus.rejects import Reject, reject_row
from asrscale.corpus.shard_record import Utterance
from asrscale.corpus.shard_task import Task
from asrscale.corpus.tar_writer import json_of_columns, write_utterance
from asrscale.data.tars import MAX_MEMBER_BYTES
from asrscale.sources.rows import Row
from asrscale.speech.markup import find_markup
from asrscale.speech.symbols import lost_symbols

DEATHS_TO_BLAME = 2  # times that a worker died with a row in hand: the first may be somebody's kill -9

# Texts, then recordings, then the tar, each for so many rows: codecs push everything else out of the processor's
# caches, so to do all three row by row takes 5 % longer.
_ROWS_AT_ONCE = 16
_BYTES_AT_ONCE = 1 << 20  # of audio, or the rows of one recording that is larger

_MOST_BYTES_A_CHARACTER = 12  # in KEY.json: \u and four digits, and those of a speaker twice

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class PackedRows:
    """What became of the rows of a shard: each is an utterance or a reject.

    Attributes:
        utterances: Those that can be used.
        rejects: The others.
        markup: Of the texts of the utterances.
        symbols: Those that their normalisation left out.
    """

    utterances: list[Utterance] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    markup: Counter[str] = field(default_factory=Counter)
    symbols: Counter[str] = field(default_factory=Counter)


def pack_rows(task: Task, tar: IO[bytes] | None, begin: Callable[[int], None]) -> PackedRows:
    """Writes each usable row of a shard to `tar`, or leaves it where it lies if that is None.

    Args:
        task: The shard.
        tar: The tar, or None to check the recordings in the one that exists.
        begin: Is called with the number of a row before each work that is done for it.

    Raises:
        RuntimeError: Our code raised over a row, and `task.stop` is set; names the row.
    """
    packed = PackedRows()
    numbers = range(len(task.rows))
    for first in numbers[::_ROWS_AT_ONCE]:
        some = numbers[first : first + _ROWS_AT_ONCE]
        prepared = [_attempt(task, number, begin, partial(_prepare, task, number)) for number in some]
        payloads = (_make_payload(task, number, begin, row) for number, row in zip(some, prepared, strict=True))
        for batch in _batches(zip(some, payloads, strict=True)):
            for number, payload in batch:
                _store(task, tar, task.rows[number], payload, packed)
    return packed


def _attempt(task: Task, number: int, begin: Callable[[int], None], work: Callable[[], _Result]) -> _Result | Reject:
    """Returns what some work for a row results in, or why the row is left out.

    Raises:
        RuntimeError: Our code raised over the row, and `task.stop` is set; names the row.
    """
    row = task.rows[number]
    begin(number)
    try:
        return work()
    except AudioError as error:
        return reject_row(task.split, row, str(error))
    except Exception as error:
        if task.stop:
            raise RuntimeError(f"{row.source} line {row.line} ({row.audio}): {error!r}") from error
        return reject_row(task.split, row, f"fault: {error!r}")


def _prepare(task: Task, number: int) -> PreparedRow:
    """Checks all of a row but its recording; raises AudioError `reason: detail` where it cannot be used."""
    row = task.rows[number]
    if task.deaths.count(number) >= DEATHS_TO_BLAME:
        raise AudioError("fault: the worker process died over it, again when it was tried again")
    if task.codec != "in_place":
        _check_columns(row)
    return prepare_row(row, task.audio_root, task.rules)


def _make_payload(
    task: Task, number: int, begin: Callable[[int], None], prepared: PreparedRow | Reject
) -> Payload | Reject:
    """Returns what to store of a row, or why it is left out; raises RuntimeError as `_attempt` does."""
    if isinstance(prepared, Reject):
        return prepared
    return _attempt(task, number, begin, partial(make_payload, prepared, task.audio_root, task.rules, task.codec))


def _batches(payloads: Iterable[tuple[int, Payload | Reject]]) -> Iterator[list[tuple[int, Payload | Reject]]]:
    """Yields what to store of rows, with their numbers, in lists that do not hold much more audio than is allowed."""
    batch: list[tuple[int, Payload | Reject]] = []
    num_bytes = 0
    for number, payload in payloads:
        batch.append((number, payload))
        num_bytes += len(payload.audio) if isinstance(payload, Payload) else 0
        if num_bytes >= _BYTES_AT_ONCE:
            yield batch
            batch = []
            num_bytes = 0
    yield batch


def _store(task: Task, tar: IO[bytes] | None, row: Row, payload: Payload | Reject, packed: PackedRows) -> None:
    """Writes a row to the tar, if there is one, and adds it to what became of the rows before."""
    if isinstance(payload, Reject):
        packed.rejects.append(payload)
        return
    if tar is None:
        key = _key_in_foreign_tar(row)
        offset = row.tar_offset
    else:
        key = f"{task.split}-{row.line:08d}"
        offset = write_utterance(tar, key, row, payload)
    utterance = Utterance(
        key=key,
        shard=os.path.basename(task.path),
        text=payload.text,
        speaker=clean_value(row.speaker) if row.speaker is not None else None,
        offset=offset,
        size=len(payload.audio),
        crc32=zlib.crc32(payload.audio),
        num_samples=payload.num_samples,
    )
    packed.utterances.append(utterance)
    if task.rules.text.form == "words":
        packed.markup.update(find_markup(clean_text(row.text)))
        packed.symbols.update(lost_symbols(row.text, payload.text, task.rules.text))


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
