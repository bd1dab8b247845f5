"""All commands with secrets in every flag, column and variable of the environment: nothing of them is left anywhere.

Nothing below the output folders, the home and the temporary folder has any of them, not inside of compressed or packed
files, nor does what is printed, nor what `ps` shows.
"""

import csv
import json
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import OF_THIS_PROCESS, REPOSITORY, write_corpus
from helpers.canaries import Canaries, Place, Watched, run_watched, secret_addresses, served
from helpers.sources import write_tar
from helpers.training import hold, is_held, short

from asrscale.common.errors import EXIT_STOPPED, EXIT_USAGE

pytestmark = pytest.mark.slow
pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'asrscale[remote]'")

SHARD = (sys.executable, "-m", "asrscale.shard")


@dataclass
class Scene:
    """A place on the network with a corpus, folders for what is written, and an environment with secrets.

    Attributes:
        folder: With `public`, which is served, and `out`, `home` and `tmp`, which are written to.
        place: The folder `public` over HTTP.
        canaries: All secrets.
        printed: By the commands so far.
    """

    folder: Path
    place: Place
    canaries: Canaries
    environment: dict[str, str]
    printed: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def public(self) -> Path:
        return self.folder / "public"

    def url(self, path: str, *, signed: bool = False) -> str:
        """Returns an address of something in `public`, with a new password, and a new signature."""
        password, signature = self.canaries.new(f"password of {path}"), self.canaries.new(f"signature of {path}")
        return f"http://ann:{password}@{self.place.host}/{path}" + (f"?sig={signature}#{signature}" if signed else "")

    def run(self, *words: object, expect: int = 0, **environment: str) -> Watched:
        """Runs a command, of which nobody may see a secret."""
        log = self.folder / "log.txt"
        done = run_watched(*words, cwd=REPOSITORY, environment=self.environment | environment, log=log)
        assert done.code == expect, done.printed
        assert not self.canaries.found_in(done.printed.encode()), done.printed
        for command_line in done.command_lines:
            assert not self.canaries.found_in(command_line.encode()), command_line
        return done


def make_environment(folder: Path, canaries: Canaries) -> dict[str, str]:
    """Returns an environment whose home and temporary folders are below a folder, with secrets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_THIS_PROCESS)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "TMPDIR": str(folder / "tmp"), "HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    return kept | own | canaries.environment()


def write_secret_corpora(scene: Scene) -> list[Path]:
    """Writes a corpus with secrets as CSV, JSON lines, Parquet and tar; returns its recordings."""
    host, canaries = scene.place.host, scene.canaries
    table = write_corpus(scene.public / "corpus", utterances=60)
    header, *rows = csv.reader(table.open())
    addresses = secret_addresses(canaries, host)
    for number, row in enumerate(rows):
        if number % 3:
            row[0] = scene.url(f"corpus/{row[0]}", signed=number % 3 == 1)
        row += [addresses[number % len(addresses)], addresses[(7 * number + 3) % len(addresses)]]
    rows[7][0] = scene.url("corpus/missing.wav", signed=True)
    rows[8][0] = f"s3://bucket/x.wav?X-Amz-Signature={canaries.new('address elsewhere')}"
    rows[11][0] = f"http://ann:{canaries.new('slash')}/{canaries.new('slash')}@{host}/corpus/clip-0000.wav"
    for number in range(20, 25):
        rows[number][1] = f"go {addresses[number - 20]} <a href='{addresses[number - 10]}'>"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([[*header, "page", "client_id"], *rows])
    objects = [
        dict(zip(["audio_filepath", "text", "page", "speaker"], [*row[:2], *row[4:]], strict=True)) for row in rows
    ]
    lines = [json.dumps(one | {"duration": 9}) + "\n" for one in objects]
    (scene.public / "corpus/manifest.json").write_text("".join(lines))

    recordings = sorted((scene.public / "corpus").glob("*.wav"))[: len(addresses)]
    audio = [{"bytes": path.read_bytes(), "path": address} for path, address in zip(recordings, addresses, strict=True)]
    columns = {"audio": audio, "text": ["bad dog"] * len(audio), "page": addresses, "speaker": addresses}
    pq.write_table(pa.table(columns), scene.public / "a.parquet")
    members: dict[str, bytes] = {}
    for number, (path, address) in enumerate(zip(recordings, addresses, strict=True)):
        members[f"{number}.wav"] = path.read_bytes()
        members[f"{number}.json"] = json.dumps({"text": "bad dog", "page": address, "speaker": address}).encode()
    write_tar(scene.public / "a.tar", members)
    return recordings


def build_all(scene: Scene) -> None:
    """Builds data sets from addresses with passwords and signatures, of which the first is then on the network."""
    sources = {
        "csv": ("corpus/corpus.csv", "--filter", "up_votes>=1", "--shard_utterances", 20),
        "nemo": ("corpus/manifest.json", "--original", "true"),
        "parquet": ("a.parquet",),
        "tar": ("a.tar",),
    }
    for name, (source, *flags) in sources.items():
        split = "" if name == "csv" else "train="
        given = ("--csv", split + scene.url(str(source), signed=True), "--audio_root", scene.url("corpus"))
        scene.run(*SHARD, *given, "--out", scene.out / name, "--max_rejected", 1, *flags)
    shutil.copytree(scene.out / "csv", scene.public / "shards")
    foreign = scene.folder / "foreign"
    foreign.mkdir()
    shutil.copy(scene.public / "a.tar", foreign)
    scene.run(*SHARD, "index", "--data", foreign, "--max_rejected", 1)
    for path in foreign.iterdir():
        if path.suffix != ".tar":
            shutil.copy(path, scene.out / path.name)


def train_and_resume(scene: Scene, *data: object) -> None:
    """Trains on one rank, stops in the middle, and goes on with two to the end."""
    run = scene.out / "run"
    trackers = ("--wandb", "offline", "--tracker", "wandb,tensorboard,trackio", "--wandb_predictions", "true")
    flags = (
        "--model",
        "tiny",
        "--run",
        run,
        *data,
        *trackers,
        "--cache_dir",
        scene.out / "cache",
        *short(saves=2, steps=6),
    )

    def stop_once_held() -> None:
        while not is_held(run)():
            time.sleep(0.05)
        for process in psutil.process_iter(["cmdline"]):
            if str(run) in (process.info["cmdline"] or []):
                process.send_signal(signal.SIGTERM)

    threading.Thread(target=stop_once_held, daemon=True).start()
    scene.run(sys.executable, "tests/ranks/held_train.py", *flags, expect=EXIT_STOPPED, **hold(run, 4))
    scene.run("deepspeed", "--num_gpus", 2, "--master_port", 29_877, "launch/train.py", *flags, "--export", "onnx")


def test_no_secret_is_left_by_any_command(tmp_path: Path) -> None:
    canaries = Canaries()
    for name in ("public", "out", "home", "tmp"):
        (tmp_path / name).mkdir()
    with served(tmp_path / "public") as place:
        scene = Scene(tmp_path, place, canaries, make_environment(tmp_path, canaries))
        recordings = write_secret_corpora(scene)
        build_all(scene)
        out = scene.out
        scene.run(*SHARD, "verify", "--data", scene.url("shards/train"))
        scene.run(*SHARD, "verify", "--data", scene.url("shards/none"), expect=EXIT_USAGE)
        scene.run(
            *SHARD,
            "stats",
            "--data",
            f"{scene.url('shards/train')},{scene.url('shards/valid')}",
            "--html",
            out / "stats.html",
        )
        data = ("--train", out / "csv/train", "--valid", out / "csv/valid")
        scene.run(
            sys.executable,
            "-m",
            "asrscale.plan",
            "--model",
            "tiny",
            *data,
            "--gpu",
            "a100-80",
            "--html",
            out / "plan.html",
        )
        train_and_resume(scene, *data)
        of_model = ("--model", out / "run", "--data", scene.url("shards/valid"))
        pages = ("--html", out / "eval.html", "--cache_dir", out / "cache")
        scene.run(sys.executable, "-m", "asrscale.evaluate", *of_model, "--out", out / "eval", *pages)
        scene.run(sys.executable, "-m", "asrscale.export", *of_model, "--out", out / "onnx")
        missing = scene.url("a.wav", signed=True)
        words = ("--model", out / "run", recordings[0], missing, "--jsonl", out / "texts.jsonl")
        scene.run(sys.executable, "-m", "asrscale.transcribe", *words, expect=EXIT_USAGE)

        assert any(canaries.found_in(seen.encode()) for seen in place.seen)  # they have been used
    for name in ("out", "home", "tmp"):
        assert not canaries.found_below(tmp_path / name)
    kinds = {path.suffix for path in out.rglob("*") if path.is_file()}
    assert kinds >= {".tar", ".parquet", ".json", ".jsonl", ".html", ".md", ".safetensors", ".wandb", ".onnx"}
    assert list(out.rglob("events.out.tfevents*"))
