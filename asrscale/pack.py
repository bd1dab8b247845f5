"""Rows to shards, in worker processes: decode, check, encode, pack. Imports no torch.

A shard's bytes depend on its task and the recordings alone, not on who builds it or when. Until its folder is whole,
its `Part` lies beside it, so that an interrupted build goes on where it was.
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
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from asrscale import __version__, audio
from asrscale.config import write_json
from asrscale.errors import AudioError
from asrscale.progress import progress
from asrscale.sources import Row, audio_path
from asrscale.text import normalise

SILENT_PEAK = 1e-3  # of full scale, -60 dB: below the noise of any microphone that heard somebody
SPEAKER_COLUMNS = ("client_id", "speaker")  # Common Voice's name for it, and ours

# A finished shard as JSON, TAR.part: `made_of` is a hash of what it depends on, `shard` its entry in dataset.json,
# `utterances` its rows of index.parquet, `rejects` its lines of rejected.jsonl.
Part: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One shard to build: the tar `path` of `rows` in their order, with keys that start with `split`."""

    path: str
    split: str
    rows: tuple[Row, ...]
    audio_root: str
    min_seconds: float
    max_seconds: float


def build_shards(tasks: list[Task], workers: int | None) -> list[Part]:
    """Builds shards in worker processes, by default one a usable core, and shows how far it is.

    Raises:
        RuntimeError: A worker met a fault of ours or of the machine; names the row where one is known.
        KeyboardInterrupt: After Ctrl-C, when the workers have ended.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count, context = min(workers or usable, len(tasks)), multiprocessing.get_context("spawn")
    parts = []
    with (
        progress(sum(len(task.rows) for task in tasks), "sharding", "clips") as bar,
        ProcessPoolExecutor(count, context, initializer=_start_worker) as pool,
    ):
        on_ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: workers leave Ctrl-C to the parent
        built = pool.map(build_shard, tasks)
        try:
            signal.signal(signal.SIGINT, on_ctrl_c)
            for part in built:
                parts.append(part)
                bar.advance(len(part["utterances"]) + len(part["rejects"]))
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()  # the next build begins its shard again
            raise
    return parts


def _start_worker() -> None:
    """Prepares a worker process, before it gets its first task."""

    def die_with_parent() -> None:  # an orphan would go on writing where the next build does
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=die_with_parent, daemon=True).start()
    sys.modules["torch"] = None  # type: ignore[assignment]  # webdataset imports it if it can: 5 s a worker for nothing
    # C libraries write to descriptor 2 (mpg123 does for every odd mp3) and would tear the bar; Python may still speak.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def build_shard(task: Task) -> Part:
    """Writes one shard, whole or not at all, unless an earlier build did; runs in a worker process.

    Raises:
        RuntimeError: Something other than the recording is at fault; names the row.
    """
    from webdataset import TarWriter  # here, because it is slow to import and would import torch

    paths = [os.path.join(task.audio_root, row.audio) for row in task.rows]
    recordings = [os.path.isfile(path) and (os.path.getsize(path), os.path.getmtime(path)) for path in paths]
    made_of = hashlib.sha256(repr((__version__, task, recordings)).encode()).hexdigest()
    with suppress(OSError, ValueError, LookupError, TypeError):  # it is not there, or damaged
        part: Part = json.loads(Path(f"{task.path}.part").read_bytes())
        if part["made_of"] == made_of and part["shard"]["sha256"] == _sha256(task.path):
            return part
    part = {"made_of": made_of, "utterances": [], "rejects": []}
    temporary = f"{task.path}.tmp"
    with open(temporary, "wb") as file, TarWriter(file, "", "", 0o644, compress=False, encoder=False, mtime=0) as tar:
        for row in task.rows:
            try:
                part["utterances"].append(_write_utterance(tar, task, row, *_utterance(task, row)))
            except AudioError as error:
                reason, _, detail = str(error).partition(": ")
                where = {"split": task.split, "source": row.source, "line": row.line, "audio": row.audio}
                part["rejects"].append({**where, "text": row.text, "reason": reason, "detail": detail})
            except Exception as error:
                raise RuntimeError(f"{row.source} line {row.line} ({row.audio}): {error!r}") from error
    part["shard"] = {
        "file": os.path.basename(task.path),
        "bytes": os.path.getsize(temporary),
        "sha256": _sha256(temporary),
        "utterances": len(part["utterances"]),
        "samples": sum(utterance["num_samples"] for utterance in part["utterances"]),
        "longest_samples": max((utterance["num_samples"] for utterance in part["utterances"]), default=0),
    }
    os.replace(temporary, task.path)
    write_json(f"{task.path}.part", part)
    return part


def _utterance(task: Task, row: Row) -> tuple[audio.Pcm, str]:
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


def _write_utterance(tar: Any, task: Task, row: Row, pcm: audio.Pcm, text: str) -> dict[str, Any]:
    """Adds KEY.flac, KEY.json and KEY.txt (in this order: TarWriter sorts) to the tar and returns the index's row."""
    key, flac = f"{task.split}-{row.line:08d}", audio.encode_flac(pcm)
    speaker = next((row.extra[name] for name in SPEAKER_COLUMNS if name in row.extra), None)
    about = {"source": row.source, "audio": row.audio, "speaker": speaker, **row.extra}
    about_json = json.dumps(about, ensure_ascii=False, sort_keys=True)
    offset = tar.tarstream.offset + tarfile.BLOCKSIZE  # the payload follows one header block
    tar.write({"__key__": key, "flac": flac, "json": about_json.encode(), "txt": text.encode()})
    payload = {"offset": offset, "size": len(flac), "crc32": zlib.crc32(flac), "num_samples": len(pcm)}
    return {"key": key, "shard": os.path.basename(task.path), **payload, "text": text, "speaker": speaker}


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
