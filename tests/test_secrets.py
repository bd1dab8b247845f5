"""Passwords, tokens and signatures in addresses are in nothing that a command writes, prints or shows to others."""

import functools
import http.server
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sharding import COMMAND, ROOT, rejected, write_clip

from asrscale.common import cli
from asrscale.common.errors import EXIT_USAGE, CliError
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.index_tars import IndexOptions
from asrscale.evaluate import EvaluateOptions
from asrscale.shard import VerifyOptions
from asrscale.training.config import train_config
from asrscale.transcribe import TranscribeOptions

SECRET = "c4n4ry"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The host and port of a server of TMP/public, which asks for no password and ignores queries."""
    (tmp_path / "public").mkdir()
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "public"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{listening.server_port}"
        listening.shutdown()


def run_and_watch(*words: object) -> tuple[int, str, list[str]]:
    """Runs a command; returns its exit code, all that it printed, and the command lines of it that were seen."""
    process = subprocess.Popen(
        [*map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seen = []
    while process.poll() is None:
        shown = Path(f"/proc/{process.pid}/cmdline").read_text()
        seen += [shown] if shown else []  # none before it has begun, and once it has ended
        time.sleep(0.05)
    assert process.stdout is not None
    return process.returncode, process.stdout.read(), seen


def assert_no_secret_below(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert SECRET not in str(path)
        assert SECRET.encode() not in path.read_bytes(), path


def test_a_build_from_signed_addresses_tells_nobody_their_passwords_and_signatures(tmp_path: Path, server: str) -> None:
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'asrscale[remote]'")
    for number in range(4):
        write_clip(tmp_path / f"public/clips/{number}.wav")
    place = f"http://ann:{SECRET}@{server}"
    rows = [
        "filename,text,page,client_id",
        f"0.wav,Sentence one,https://{SECRET}@host/a?b={SECRET},s1",
        f"{place}/clips/1.wav?sig={SECRET},Sentence two,see {place}/x?{SECRET},{place}/ann?{SECRET}",
        f"{place}/clips/2.wav#{SECRET},Sentence three,,s3",
        f"{place}/clips/missing.wav?sig={SECRET},Sentence four,,s4",
        f"http://ann:{SECRET}/{SECRET}@{server}/clips/3.wav,Sentence five,,s5",
        f"{place}/clips/3.wav,<a href={place}/?{SECRET}>,,s6",
    ]
    (tmp_path / "public/a.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    flags = ["--csv", f"train={place}/a.csv?sig={SECRET}", "--audio_root", f"{place}/clips", "--out", out]
    code, printed, command_lines = run_and_watch(*COMMAND, *flags, "--max_rejected", "1", "--workers", "1")
    assert code == 0, printed
    assert SECRET not in printed
    assert SECRET not in command_lines[-1]
    assert_no_secret_below(out)
    assert [(row["line"], row["reason"]) for row in rejected(out)] == [
        (5, "missing file"),
        (6, "address"),
        (7, "empty transcript"),
    ]
    assert rejected(out)[0]["audio"] == f"http://{server}/clips/missing.wav"
    with tarfile.open(out / "train/train-000000.tar") as tar:
        assert len(tar.getnames()) == 3 * 3
    again, printed, _ = run_and_watch(*COMMAND, *flags, "--max_rejected", "1")
    assert again == 0 and "already built" in printed and SECRET not in printed


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (ShardOptions, ["--csv", "{}", "--out", "o"]),
        (ShardOptions, ["--csv", "a.csv", "--out", "o", "--audio_root", "{}"]),
        (ShardOptions, ["{}"]),
        (VerifyOptions, ["--data", "a,{}"]),
        (IndexOptions, ["--data", "a", "--manifest", "{}"]),
        (TranscribeOptions, ["--model", "m", "{}"]),
        (EvaluateOptions, ["--model", "m", "--data", "d", "--compare", "{}"]),
        (EvaluateOptions, ["--model", "m", "--data", "d", "--metric", "{}"]),
    ],
)
def test_a_flag_whose_address_cannot_be_cleaned_is_refused_and_not_repeated(
    schema: type, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"s3://ann:{SECRET}/{SECRET}@bucket/x"
    with pytest.raises(SystemExit) as end:
        cli.main(schema, lambda _: None, [word.format(address) for word in words])
    assert end.value.code == EXIT_USAGE
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train", "valid", "run", "model", "vocab", "config", "cache_dir", "wandb_project"])
@pytest.mark.parametrize("address", [f"https://{SECRET}@host/x", f"https://ann:{SECRET}/@h/x", f"https://h/x?{SECRET}"])
def test_training_takes_no_address_with_a_secret(name: str, address: str) -> None:
    given = {"train": ("a",), "valid": ("a",)}
    given |= {name: (address,) if name in given else address}
    with pytest.raises(CliError, match=f"--{name}: ") as error:
        train_config(**given)
    assert SECRET not in str(error.value)
