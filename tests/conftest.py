"""A corpus that needs no download: each letter is a tone, each word a few of them."""

import csv
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import torch
from torch.nn.utils.rnn import pad_sequence

from asrscale.common.distributed import World
from asrscale.data.index import Index, read_index
from asrscale.model.building import build_recognizer
from asrscale.model.forward import count_frames, ctc_losses, forward_logits
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import to_pcm16

if TYPE_CHECKING:
    from helpers.run_scene import Scene

REPOSITORY = Path(__file__).parent.parent
TONES_HZ = {letter: 300.0 * 1.35**number for number, letter in enumerate("abdegiou")}
# A test that joined a world of one, or started W&B's service, must not make the commands it runs believe in them.
OF_THIS_PROCESS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_", "SLURM_", "WANDB_")
WORDS = ("bad", "dog", "big", "age", "die", "god", "bee", "gab")


@pytest.fixture(autouse=True, scope="session")
def _one_thread_a_process() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONPATH"] = str(REPOSITORY)


def speak(text: str, seed: int) -> np.ndarray:
    """(T,) 16 kHz: 80 ms a letter, silence for a space, a little noise."""
    rng = np.random.default_rng(seed)
    time_seconds = np.arange(1280) / 16_000
    window = np.hanning(1280)
    letters = [np.sin(2 * np.pi * TONES_HZ.get(letter, 0.0) * time_seconds) * window for letter in text]
    waveform = 0.3 * np.concatenate([np.zeros(800), *letters, np.zeros(800)])
    return (waveform + 0.003 * rng.standard_normal(len(waveform))).astype(np.float32)


def write_corpus(folder: Path, utterances: int, seed: int = 0) -> Path:
    """A Common Voice shaped folder: corpus.csv and 16 kHz wav files; returns the CSV."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    with (folder / "corpus.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "text", "up_votes", "accent"])
        for number in range(utterances):
            text = " ".join(rng.choice(WORDS, size=rng.integers(1, 6)))
            soundfile.write(folder / f"clip-{number:04d}.wav", speak(text, number), 16_000)
            writer.writerow([f"clip-{number:04d}.wav", text, 1, "tones"])
    return folder / "corpus.csv"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A CSV of 23 sound clips of many kinds."""
    from helpers.sharding import write_clip, write_csv

    rows = []
    for number in range(23):
        name = f"clips/{number}.{('wav', 'mp3', 'flac', 'ogg')[number % 4]}"
        rate_hz = (48_000, 44_100, 8_000)[number % 3]
        write_clip(tmp_path / name, 0.6 + number / 20, rate_hz, channels=1 + number % 2)
        rows.append((name, f"Sentence, number {number}!".replace(",", ""), "3", "" if number % 2 else f"s{number % 5}"))
    return write_csv(tmp_path / "corpus.csv", rows, "filename,text,up_votes,client_id")


def flip_bit(index: Index, utterance: int) -> None:
    """Damages one utterance's audio in its shard, which keeps its size."""
    with open(index.shards[index.shard_ids[utterance]], "r+b") as file:
        file.seek(int(index.offsets[utterance]) + int(index.sizes[utterance]) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


@pytest.fixture(scope="session")
def run_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command as a user would, in the repository, with this Python's scripts first on PATH."""

    def run(
        *words: object, cwd: Path = REPOSITORY, limit_seconds: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [str(word) for word in words],
            cwd=cwd,
            env={name: value for name, value in os.environ.items() if not name.startswith(OF_THIS_PROCESS)}
            | {"PATH": path}
            | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_seconds,
        )

    return run


@pytest.fixture(scope="session")
def tone_shards(tmp_path_factory: pytest.TempPathFactory, run_command: Callable[..., object]) -> Path:
    """A data set root with train and valid folders, built by the real command."""
    root = tmp_path_factory.mktemp("tones")
    csv_file = write_corpus(root / "corpus", utterances=120)
    done = run_command(
        sys.executable, "-m", "asrscale.shard", "--csv", csv_file, "--out", root / "shards", "--shard_utterances", 30
    )
    assert done.returncode == 0, done.stderr
    return root / "shards"


@pytest.fixture(scope="session")
def undisturbed(
    tone_shards: Path,
    tmp_path_factory: pytest.TempPathFactory,
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> Path:
    """Two ranks, ZeRO-2, from start to end."""
    from helpers.training import launch, short

    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    done = run_command(*launch(2, tone_shards, folder, *short()))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def tone_recognizer() -> Recognizer:
    """A `tiny` model that has learned the tones to perfection, in seconds; not to be changed."""
    recognizer = build_recognizer("tiny", "abc", seed=0)
    learn_tones(recognizer, steps=100)
    return recognizer


def learn_tones(recognizer: Recognizer, steps: int) -> None:
    """A plain training loop."""
    model, rng, batch = recognizer.model.train(), np.random.default_rng(0), 8
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(steps):
        texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 6))) for _ in range(batch)]
        clips = [torch.from_numpy(to_pcm16(speak(text, step * batch + i))) for i, text in enumerate(texts)]
        lengths = torch.tensor([len(clip) for clip in clips])
        labels = [torch.tensor(recognizer.vocabulary.encode(text)) for text in texts]
        num_labels = torch.tensor([len(ids) for ids in labels])
        logits = forward_logits(model, recognizer, pad_sequence(clips, batch_first=True), lengths)
        padded, blank = pad_sequence(labels, batch_first=True), recognizer.vocabulary.blank_id
        loss = ctc_losses(logits, count_frames(model, lengths), padded, num_labels, blank).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 20, 2 * (1 - step / steps))
        optimizer.step()
    model.eval()


@dataclass(frozen=True)
class Disk:
    """A small file system of its own, whose faults are the kernel's.

    Attributes:
        folder: Where it is mounted.
    """

    folder: Path

    def damage(self, fault: str) -> None:
        """Makes it `full` but for 400 kB, or `read-only`; what is on it stays."""
        if fault == "full":
            free = os.statvfs(self.folder)
            (self.folder / "ballast").write_bytes(bytes(free.f_bavail * free.f_bsize - 400_000))
        else:
            subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)

    def repair(self, fault: str) -> None:
        """Undoes `damage`."""
        if fault == "full":
            (self.folder / "ballast").unlink()
        else:
            subprocess.run(["mount", "-o", "remount,rw", self.folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of 64 MB in memory, which only root may mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> "Scene":
    """Data, a model of few weights, and an undisturbed run of them."""
    from helpers.run_scene import make_scene

    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture
def own_shards(tone_shards: Path, tmp_path: Path) -> Path:
    """A copy of `tone_shards` for a test to damage."""
    return Path(shutil.copytree(tone_shards, tmp_path / "shards"))


@dataclass
class Server:
    """A folder over HTTP on loopback, which can be told to misbehave.

    Attributes:
        url: Of the folder.
        failures: How many more requests fail.
        failure: How: `status 503`, `cut` (half of the body is sent), `whole` (no ranges: all of the file).
        delay_seconds: Before a range is answered.
        ranges: Asked for so far.
    """

    url: str
    failures: int = 0
    failure: str = "status 503"
    delay_seconds: float = 0.0
    ranges: list[str] = field(default_factory=list)


@pytest.fixture
def http_server(own_shards: Path) -> Iterator[Server]:
    """`own_shards` over HTTP, byte ranges included."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = own_shards / self.path.lstrip("/")
            if not path.is_file():
                return self.send_error(404)
            content = path.read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            fails = server.failures > 0
            server.failures -= fails
            server.ranges += [wanted[0]] if wanted else []
            if wanted and server.delay_seconds:
                time.sleep(server.delay_seconds)
            if fails and server.failure.startswith("status"):
                return self.send_error(int(server.failure.split()[1]))
            if wanted and server.failure != "whole":
                if int(wanted[1]) >= len(content):
                    return self.send_error(416)
                content = content[int(wanted[1]) : int(wanted[2]) + 1]
            self.send_response(206 if wanted and server.failure != "whole" else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if fails and server.failure == "cut" else content)
            return None

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server = Server(f"http://127.0.0.1:{listening.server_port}")
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield server
        listening.shutdown()


@pytest.fixture
def local(own_shards: Path) -> Index:
    """The index of `own_shards/train`."""
    return read_index([str(own_shards / "train")])


@pytest.fixture
def remote(http_server: Server) -> Index:
    """The same index behind `http_server`."""
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'asrscale[remote]'")
    return read_index([f"{http_server.url}/train/"])


@pytest.fixture
def s3_folder(own_shards: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`own_shards/train` in a bucket of an S3 server on loopback."""
    moto_server = pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[server]'")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs: pip install 'asrscale[remote]'")
    server = moto_server.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in dict(ACCESS_KEY_ID="a", SECRET_ACCESS_KEY="b", DEFAULT_REGION="us-east-1").items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.makedirs("bucket", exist_ok=True)
    system.put(str(own_shards / "train"), "bucket/data/train", recursive=True)
    yield "s3://bucket/data/train"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """This process as the only rank, with DeepSpeed's communication set up."""
    from asrscale.training import engine  # takes seconds, and few tests need it

    with engine.joined_ranks() as joined:
        yield joined
