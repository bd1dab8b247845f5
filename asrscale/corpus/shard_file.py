"""One shard: rows to a tar of audio and transcripts, in a worker process. Imports no torch.

A shard's bytes depend on its task and the recordings alone, not on who builds it or when. Until its folder is whole,
its `Part` lies beside it, so that an interrupted build goes on where it was.
"""

import hashlib
import io
import json
import math
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from asrscale import __version__
from asrscale.common.atomic_files import write_text
from asrscale.common.errors import AudioError
from asrscale.corpus.checks import Rules, check_audio, check_pair, check_text
from asrscale.corpus.recordings import open_audio
from asrscale.corpus.rows import Row
from asrscale.corpus.tar_writer import write_utterance
from asrscale.speech.decoding import Source, decode
from asrscale.speech.encoding import Codec, encode
from asrscale.speech.normalisation import normalise
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm, resample, to_pcm16

# A manifest's durations are rounded; one that is shorter than the recording by more means a part of it.
SEGMENT_TOLERANCE_SECONDS = 0.1


PAST_HOURS = "past max_hours: not in the sample"  # why a row is refused that fulfils the split's rules


DEATHS_TO_BLAME = 2  # times that a worker died with a row in hand: the first may be somebody's kill -9


# A finished shard as JSON, TAR.part: `made_of` is a hash of what it depends on, `shard` its entry in dataset.json,
# `utterances` its rows of index.parquet; `rejects`, and those `refused` by the split's rules, go to rejected.jsonl.
Part: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One shard to build: the tar `path` of `rows` in their order, with keys that start with `split`.

    Attributes:
        codec: What the audio is stored as; `original` keeps the bytes of its file, `in_place` even its tar.
        stop: Whether a row that makes our code raise ends the build; else it is rejected.
        deaths: The row in hand, at each time that a worker died over this shard.
        refused: Rows that are in no shard, to be listed with this one's rejects.
    """

    path: str
    split: str
    rows: tuple[Row, ...]
    audio_root: str
    rules: Rules
    codec: Codec | Literal["original", "in_place"] = "flac"
    stop: bool = False
    deaths: tuple[int, ...] = ()
    refused: tuple[Row, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


def read_part(path: str) -> Part | None:
    """What an earlier build left beside the shard `path`; None where that is nothing, or damaged."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        part: Part = json.loads(Path(f"{path}.part").read_bytes())
        if part["shard"]["bytes"] == os.path.getsize(path):
            return part
    return None


def build_shard(task: Task, begin: Callable[[int], None]) -> Counter[str]:
    """Writes one shard, whole or not at all, unless an earlier build did; calls `begin` with each row's place.

    Returns:
        How many rows were rejected, by reason.

    Raises:
        RuntimeError: A row made our code raise, and the task says to stop; names the row.
    """
    made_of = _made_of(task)
    part = read_part(task.path)
    if part is None or part["made_of"] != made_of or part["shard"]["sha256"] != _sha256(task.path):
        part = _write_shard(task, begin) if task.codec != "in_place" else _pack(task, _place, begin)
        lengths = [utterance["num_samples"] for utterance in part["utterances"]]
        entry = {"file": os.path.basename(task.path), "bytes": os.path.getsize(task.path), "sha256": _sha256(task.path)}
        sums = {"utterances": len(lengths), "samples": sum(lengths), "longest_samples": max(lengths, default=0)}
        refused = [reject(task.split, row, row.refused or PAST_HOURS) for row in task.refused]
        part |= {"made_of": made_of, "shard": entry | sums, "refused": refused}
        write_text(f"{task.path}.part", json.dumps(part))
    return Counter(reject["reason"] for reject in part["rejects"])


def _made_of(task: Task) -> str:
    """A hash of all that the shard depends on; a recording counts by its size and time."""
    recordings: list[tuple[int, int] | None] = []
    for row in task.rows:
        try:
            stat = os.stat(row.tar or os.path.join(task.audio_root, row.audio))
            recordings.append((stat.st_size, stat.st_mtime_ns))
        except (OSError, ValueError):
            recordings.append(None)
    options = replace(task, stop=False, deaths=())
    return hashlib.sha256(repr((__version__, options, recordings)).encode("utf-8", "backslashreplace")).hexdigest()


def _write_shard(task: Task, begin: Callable[[int], None]) -> Part:
    """Writes the tar under a temporary name, then gives it its own."""
    temporary = f"{task.path}.{os.getpid()}.tmp"  # not that of a worker whose parent has just been killed
    try:
        with open(temporary, "wb", buffering=1 << 20) as file:
            part = _pack(task, partial(write_utterance, file, task.split), begin)
            file.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of a tar
        os.replace(temporary, task.path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(temporary)  # a full disk needs the room
    return part


def _pack(task: Task, store: Callable[..., tuple[str, int]], begin: Callable[[int], None]) -> Part:
    """Has each good row stored, which gives its key and where in the tar its audio lies."""
    utterances: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    for number, row in enumerate(task.rows):
        begin(number)
        try:
            if task.deaths.count(number) >= DEATHS_TO_BLAME:
                raise AudioError("fault: the worker process died over it, again when it was tried again")
            kind, data, length, text = _utterance(task, row)
        except AudioError as error:
            rejects.append(reject(task.split, row, str(error)))
        except Exception as error:
            if task.stop:
                raise RuntimeError(f"{row.source} line {row.line} ({row.audio}): {error!r}") from error
            rejects.append(reject(task.split, row, f"fault: {error!r}"))
        else:
            key, offset = store(row, kind, data, text)
            about = {"key": key, "shard": os.path.basename(task.path), "text": text, "speaker": row.speaker}
            payload = {"offset": offset, "size": len(data), "crc32": zlib.crc32(data), "num_samples": length}
            utterances.append(about | payload)
    return {"utterances": utterances, "rejects": rejects}


def reject(split: str, row: Row, why: str) -> dict[str, Any]:
    """A line of rejected.jsonl; `why` is `reason: detail`."""
    reason, _, detail = why.partition(": ")
    where = {"split": split, "source": row.source, "line": row.line, "audio": row.audio}
    return {**where, "text": row.text, "reason": reason, "detail": detail}


def _utterance(task: Task, row: Row) -> tuple[str, bytes, int, str]:
    """The row's extension, bytes and length in samples at 16 kHz, and transcript; AudioError `reason: detail`."""
    sound, text = open_audio(row, task.audio_root), normalise(row.text)
    check_text(text, task.rules)
    if task.codec == "original" or task.codec == "in_place":
        data = Path(sound).read_bytes() if isinstance(sound, str) else sound.getvalue()
        length = len(_checked_pcm(io.BytesIO(data), text, task.rules))
        start_seconds, seconds = row.segment
        if start_seconds or length / SAMPLE_RATE_HZ - (seconds or math.inf) > SEGMENT_TOLERANCE_SECONDS:
            raise AudioError("segment: a part of its recording, which can only be stored whole: give a --codec")
        suffix = Path(row.audio).suffix.lower().removeprefix(".")
        return suffix if re.fullmatch("(?!txt|json)[a-z0-9]{1,5}", suffix) else "audio", data, length, text
    pcm = _checked_pcm(sound, text, task.rules, *row.segment)
    return task.codec, encode(pcm, task.codec), len(pcm), text


def _checked_pcm(source: Source, text: str, rules: Rules, *segment: Any) -> Pcm:
    """A recording at 16 kHz, fit to learn `text` from; raises AudioError `reason: detail` where it is not."""
    waveform, rate = decode(source, rules.max_seconds, *segment)
    check_audio(waveform)
    pcm = to_pcm16(resample(waveform, rate))
    check_pair(text, len(pcm), rules)
    return pcm


def _place(row: Row, *_: object) -> tuple[str, int]:
    """A recording in somebody else's tar, by WebDataset's key: up to the first dot of the name."""
    folder, name = os.path.split(row.audio)
    return os.path.join(folder, name.partition(".")[0]), row.tar_offset


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
