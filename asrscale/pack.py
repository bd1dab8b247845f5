"""Rows to shards, in worker processes: decode, check, encode, pack. Imports no torch.

A shard's bytes depend on its task and the recordings alone, not on who builds it or when.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tarfile
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np

from asrscale import audio
from asrscale.errors import AudioError
from asrscale.index import Record
from asrscale.progress import progress
from asrscale.sources import Row, audio_path
from asrscale.text import normalise

SILENT_PEAK = 1e-3  # of full scale, -60 dB: below the noise of any microphone that heard somebody
SPEAKER_COLUMNS = ("client_id", "speaker")  # Common Voice's name for it, and ours
POLL_SECONDS = 0.25  # how often the bar moves


@dataclass(frozen=True)
class Task:
    """One shard to build.

    Attributes:
        path: The tar to write.
        split: Starts every key.
        rows: What goes in, in this order.
        audio_root: The folder that the rows' recordings are below.
        min_seconds: Shorter clips are rejected.
        max_seconds: Longer clips are rejected.
    """

    path: str
    split: str
    rows: tuple[Row, ...]
    audio_root: str
    min_seconds: float
    max_seconds: float


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
        records: What it holds.
        rejects: The rows it does not hold, as they stand in rejected.jsonl.
        bytes: Size of the tar.
        sha256: Of the tar.
    """

    records: list[Record]
    rejects: list[dict[str, Any]]
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Signals:
    """What the parent and its workers tell each other while a shard is under way."""

    clips_done: "Synchronized[int]"
    stop: Event


_signals: Signals | None = None  # set once in a worker process: such primitives can only be handed over at its start


def build_shards(tasks: list[Task], workers: int | None) -> list[Shard]:
    """Builds shards in worker processes, with a bar that counts clips.

    Args:
        tasks: What to build.
        workers: How many processes; None for one a usable core.

    Returns:
        The finished shards, in the order of the tasks.

    Raises:
        RuntimeError: A worker met a fault of ours or of the machine; names the row where one is known.
        KeyboardInterrupt: After Ctrl-C, when the workers have ended.
    """
    context = multiprocessing.get_context("spawn")
    signals = Signals(context.Value("q"), context.Event())
    count = min(workers or _usable_cores(), len(tasks))
    clips = sum(len(task.rows) for task in tasks)
    with (
        progress(clips, "sharding", "clips") as bar,
        ProcessPoolExecutor(count, context, initializer=_start_worker, initargs=(signals,)) as pool,
    ):
        on_ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: workers leave Ctrl-C to the parent
        futures = [pool.submit(_work, task) for task in tasks]
        shown, pending = 0, set(futures)
        try:
            signal.signal(signal.SIGINT, on_ctrl_c)
            while pending:
                done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                clips_done = signals.clips_done.value
                bar.advance(clips_done - shown)
                shown = clips_done
        except BaseException:
            signals.stop.set()  # ends what is under way; the rest is cancelled
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _usable_cores() -> int:
    """The cores this process may use, where the system tells: a job of a cluster often has few of a machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(signals: Signals) -> None:
    """Prepares a worker process, before it gets its first task."""
    global _signals
    _signals = signals
    sys.modules["torch"] = None  # type: ignore[assignment]  # webdataset imports it if it can: 5 s a worker for nothing
    # C libraries write to descriptor 2 (mpg123 does for every odd mp3) and would tear the bar; Python may still speak.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Ends this process when the parent is killed: an orphan would go on writing where the next build does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> Shard:
    """`build_shard` in a worker process."""
    assert _signals is not None
    signals = _signals

    def after_clip() -> None:
        if signals.stop.is_set():
            raise KeyboardInterrupt
        with signals.clips_done.get_lock():
            signals.clips_done.value += 1

    return build_shard(task, after_clip)


def build_shard(task: Task, after_clip: Callable[[], None] = lambda: None) -> Shard:
    """Writes one shard, whole or not at all.

    Args:
        task: What to write, and where.
        after_clip: Called after every row; what it raises ends the work.

    Raises:
        RuntimeError: Something other than the recording is at fault; names the row.
    """
    from webdataset import TarWriter  # here, because it is slow to import and would import torch

    records: list[Record] = []
    rejects: list[dict[str, Any]] = []
    temporary = f"{task.path}.tmp"
    with open(temporary, "wb") as file, TarWriter(file, "", "", 0o644, compress=False, encoder=False, mtime=0) as tar:
        for row in task.rows:
            try:
                pcm, text = _utterance(row, task)
                records.append(_write_utterance(tar, task, row, pcm, text))
            except AudioError as error:
                rejects.append(_reject(task, row, str(error)))
            except Exception as error:
                raise RuntimeError(f"{row.source} line {row.line} ({row.audio}): {error!r}") from error
            after_clip()
    with open(temporary, "rb") as finished:
        sha256 = hashlib.file_digest(finished, "sha256").hexdigest()
    os.replace(temporary, task.path)
    return Shard(records, rejects, os.path.getsize(task.path), sha256)


def _write_utterance(tar: Any, task: Task, row: Row, pcm: audio.Pcm, text: str) -> Record:
    """Adds the members KEY.flac, KEY.json, KEY.txt (in this order: TarWriter sorts) and says where the audio went."""
    key, shard = f"{task.split}-{row.line:08d}", os.path.basename(task.path)
    speaker = next((row.extra[name] for name in SPEAKER_COLUMNS if name in row.extra), None)
    about = {"source": row.source, "audio": row.audio, "speaker": speaker, **row.extra}
    flac = audio.encode_flac(pcm)
    offset = tar.tarstream.offset + tarfile.BLOCKSIZE  # the payload follows one header block
    about_json = json.dumps(about, ensure_ascii=False, sort_keys=True)
    tar.write({"__key__": key, "flac": flac, "json": about_json.encode(), "txt": text.encode()})
    return Record(key, shard, offset, len(flac), zlib.crc32(flac), len(pcm), text, speaker)


def _reject(task: Task, row: Row, why: str) -> dict[str, Any]:
    """A line of rejected.jsonl."""
    reason, _, detail = why.partition(": ")
    where = {"split": task.split, "source": row.source, "line": row.line, "audio": row.audio, "text": row.text}
    return {**where, "reason": reason, "detail": detail}


def _utterance(row: Row, task: Task) -> tuple[audio.Pcm, str]:
    """The row's audio at 16 kHz and its normalised transcript; raises AudioError `reason: detail` for a reject."""
    path, text = audio_path(row, task.audio_root), normalise(row.text)
    if not os.path.isfile(path):
        raise AudioError("missing file: not below the audio root")
    if not text:
        raise AudioError("empty transcript: no letter or digit is left of it")
    waveform, rate = audio.decode(path, task.max_seconds)
    if not np.isfinite(waveform).all():
        raise AudioError("non-finite: holds NaN or infinite samples")
    if np.ptp(waveform) < 2 * SILENT_PEAK:  # peak to peak: a constant is silence too
        raise AudioError(f"silent: peak below {SILENT_PEAK:g} of full scale")
    pcm = audio.to_pcm16(audio.resample(waveform, rate))
    if (seconds := len(pcm) / audio.SAMPLE_RATE_HZ) < task.min_seconds:
        raise AudioError(f"too short: {seconds:.3f} s")
    return pcm, text
