"""What the tests of shard building share: small corpora, the real command, and builds under way."""

import hashlib
import json
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asrscale.common import cli
from asrscale.corpus.build import build
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.checks import Rules
from asrscale.corpus.payload import Payload, Storage, make_payload, prepare_row
from asrscale.sources.recordings import AudioRoot
from asrscale.sources.rows import Row

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "asrscale.shard"]


def shard(*flags: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs the real command, which has to exit with the code `expect`."""
    done = subprocess.run([*COMMAND, *map(str, flags)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done


def refusal(*flags: object) -> str:
    """The one line that a refused command prints, without the progress line that work in between may print."""
    stderr = shard(*flags, expect=2).stderr
    lines = [line for line in stderr.splitlines() if not line.startswith("sharding: ")]
    assert len(lines) == 1, lines
    return lines[0]


def write_clip(path: Path, seconds: float = 0.5, rate_hz: int = 48_000, channels: int = 1, level: float = 0.5) -> None:
    """A tone of its own for every file name."""
    frequency_hz = 200 + zlib.crc32(path.name.encode()) % 500
    time_seconds = np.arange(int(seconds * rate_hz)) / rate_hz
    tone = level * np.sin(2 * np.pi * frequency_hz * time_seconds).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate_hz)


def write_csv(path: Path, rows: Sequence[tuple[str, ...]], header: str = "filename,text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def rejected(out: Path) -> list[dict[str, Any]]:
    """The lines of rejected.jsonl."""
    with (out / "rejected.jsonl").open() as file:
        return [json.loads(line) for line in file]


def read_member(tar: tarfile.TarFile, name: str) -> bytes:
    """The content of a file in a tar."""
    member = tar.extractfile(name)
    assert member is not None
    return member.read()


def checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file below a folder, by its path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refusal_in_process(capsys: pytest.CaptureFixture[str], *flags: object) -> str:
    """As `refusal`, without the seconds that a process takes to start."""
    with pytest.raises(SystemExit) as caught:
        cli.main(ShardOptions, build, [str(flag) for flag in flags])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def long_corpus(folder: Path, rows: int) -> Path:
    """A CSV whose every row takes tens of milliseconds."""
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000 * 15).astype(np.float32)
    soundfile.write(folder / "a.wav", noise, 48_000)
    return write_csv(folder / "a.csv", [("a.wav", f"sentence {number}") for number in range(rows)])


def start_build(*flags: object, until: Callable[[], bool]) -> "subprocess.Popen[str]":
    """A build under way, for which `until` has just become true."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, flags)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # the tests' own may be ignored, as by nohup
    )
    deadline_seconds = time.monotonic() + 60
    while not until():
        assert process.poll() is None and time.monotonic() < deadline_seconds
        time.sleep(0.02)
    return process


def start_long_build(tmp_path: Path) -> tuple["subprocess.Popen[str]", Path]:
    """A build of minutes, well under way, and the folder of its only split."""
    folder = tmp_path / "out/train"
    table = long_corpus(tmp_path, rows=5_000)

    def has_written_something() -> bool:
        return any(path.stat().st_size for path in folder.glob("*.tmp"))

    flags = ("--csv", table, "--out", tmp_path / "out", "--workers", 2, "--valid_fraction", 0)
    return start_build(*flags, until=has_written_something), folder


def sizes(folder: Path) -> dict[Path, int]:
    """The size of each file in a folder."""
    return {path: path.stat().st_size for path in folder.iterdir()}


def times(paths: Iterable[Path]) -> dict[Path, int]:
    """When each file was changed, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in paths}


def start(*flags: object) -> "subprocess.Popen[str]":
    """A build that has just been started."""
    return subprocess.Popen([*COMMAND, *map(str, flags)], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    """The process ids of a build's workers; Python's resource tracker, its other child, is none of them."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return [pid for pid, command in commands.items() if b"spawn_main" in command]


def payload_of(row: Row, audio_root: AudioRoot, rules: Rules, codec: Storage) -> Payload:
    """What a shard stores of a row; raises AudioError where it cannot be used."""
    return make_payload(prepare_row(row, audio_root, rules), audio_root, rules, codec)
