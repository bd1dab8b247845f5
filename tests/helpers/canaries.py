"""Secrets that can be found again: each is unique, and the place that it was put into is known."""

import base64
import functools
import gzip
import http.server
import io
import os
import re
import subprocess
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow.parquet as pq

_MARK = "c4n4ry"
_NUMBERED = re.compile(rb"c4n4ry(\d{4})z")
# How the mark looks in base64, by how many bytes come before it in a group of three: without the letters that depend on
# its neighbours.
_IN_BASE64 = tuple(
    base64.b64encode(bytes(before) + _MARK.encode())[skipped : (before + len(_MARK)) * 8 // 6]
    for before, skipped in ((0, 0), (1, 2), (2, 3))
)

# Variables of the environment that hold secrets; `{}` is the canary.
SECRET_VARIABLES = {
    "WANDB_API_KEY": "{}" + 28 * "0",
    "HF_TOKEN": "hf_{}",
    "HUGGING_FACE_HUB_TOKEN": "hf_{}",
    "AWS_ACCESS_KEY_ID": "AKIA{}",
    "AWS_SECRET_ACCESS_KEY": "{}",
    "AWS_SESSION_TOKEN": "{}",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey={};",
    "AZURE_STORAGE_SAS_TOKEN": "sv=2024&sig={}",
    "FSSPEC_S3": '{{"secret": "{}"}}',
    "HTTP_PROXY": "http://ann:{}@127.0.0.1:9",
    "HTTPS_PROXY": "http://ann:{}@127.0.0.1:9",
    "ALL_PROXY": "http://ann:{}@127.0.0.1:9",
    "GITHUB_TOKEN": "ghp_{}",
    "OPENAI_API_KEY": "sk-{}",
    "MLFLOW_TRACKING_PASSWORD": "{}",
    "TRACKIO_WRITE_TOKEN": "{}",
    "SLURM_JWT": "{}",
    "MY_PASSWORD": "{}",
}


@dataclass
class Canaries:
    """Where each canary was put: its number is the place's position in `places`."""

    places: list[str] = field(default_factory=list)

    def new(self, place: str) -> str:
        """Returns a new canary for a place."""
        self.places.append(place)
        return f"{_MARK}{len(self.places) - 1:04d}z"

    def environment(self) -> dict[str, str]:
        """Returns variables that hold secrets."""
        return {name: text.format(self.new(f"${name}")) for name, text in SECRET_VARIABLES.items()}

    def found_in(self, content: bytes) -> set[str]:
        """Returns the places whose canaries are in some bytes, as they are or in base64."""
        found = {self.places[int(number)] for number in _NUMBERED.findall(content)}
        cut_off = content.count(_MARK.encode()) > len(_NUMBERED.findall(content))
        found |= {"a part of a canary"} if cut_off else set()
        return found | ({"in base64"} if any(form in content for form in _IN_BASE64) else set())

    def found_below(self, folder: Path) -> dict[str, set[str]]:
        """Returns the files below a folder with canaries in their names or contents, and the places of these."""
        found: dict[str, set[str]] = {}
        for path in sorted(folder.rglob("*")):
            places = self.found_in(os.fsencode(path.name))
            if path.is_file():
                for content in contents_of(path):
                    places |= self.found_in(content)
            if places:
                found[str(path.relative_to(folder))] = places
        return found


def secret_addresses(canaries: Canaries, host: str) -> list[str]:
    """Returns addresses, and texts with some, each with secrets in another place or another form."""
    new = canaries.new
    return [
        f"http://ann:{new('password')}@{host}/x",
        f"https://{new('user')}@{host}/x",
        f"http://{host}/x?token={new('token')}&v=1&sig={new('sig')}",
        f"https://b.s3.amazonaws.com/k?X-Amz-Credential={new('X-Amz')}&X-Amz-Signature={new('X-Amz')}",
        f"https://a.blob.core.windows.net/c/k?sv=2024&se=1&sig={new('SAS')}",
        f"https://storage.googleapis.com/b/k?GoogleAccessId=a&Expires=1&Signature={new('Google')}",
        f"http://{host}/x?{new('bare query')}",
        f"http://{host}/x#access_token={new('fragment')}",
        f"http://ann%3A{new('password behind %3A')}@{host}/x",
        f"http://{host}/x?next=http%3A%2F%2Fann%3A{new('encoded in a query')}%40{host}",
        f"simplecache::http://ann:{new('chain')}@{host}/x",
        f'{{"u": "http:\\/\\/ann:{new("JSON")}@h\\/x?sig={new("JSON")}"}}',
        f"//ann:{new('no protocol')}@{host}/x?sig={new('no protocol')}",
        f"HTTPS://ann:{new('capitals')}@{host}/x",
        f"see <http://ann:{new('text')}@{host}/x>; and http://{host}/?k={new('text')}.",
        f"postgres://ann:{new('database')}@db/x",
        f"http%3A%2F%2Fann%3A{new('encoded')}%40{host}%2Fx%3Fsig%3D{new('encoded')}",
        f"http:&#x2F;&#x2F;ann:{new('HTML')}@{host}",
        f"http://ann:{new('slash in password')}/{new('slash in password')}@{host}/x",
        f"s3://ann:{new('s3')}@bucket/x?versionId={new('s3')}",
    ]


def contents_of(path: Path) -> Iterator[bytes]:
    """Yields what a file holds: its bytes, and what is packed in them."""
    content = path.read_bytes()
    yield content
    yield from _unpacked(content, depth=0)


def _unpacked(content: bytes, depth: int) -> Iterator[bytes]:
    """Yields what Parquet, gzip, zip, tar, W&B's records and zlib streams hold."""
    parts: list[bytes] = []
    if content[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(content))
        parts.append(repr((table.to_pylist(), table.schema.metadata, table.schema)).encode())
    elif content[:2] == b"\x1f\x8b":
        parts.append(gzip.decompress(content))
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts += [archive.read(name) for name in archive.namelist()]
    elif content[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            parts += [file.read() for file in map(tar.extractfile, tar) if file]
    elif content[:4] == b":W&B":
        # leveldb's log: blocks of 32 KiB, each record in them behind 7 bytes.
        for block in range(0, len(content), 32_768):
            parts.append(content[block : block + 32_768])
        parts.append(_joined_records(content))
    for part in parts:
        yield part
        if depth < 3:
            yield from _unpacked(part, depth + 1)


def _joined_records(content: bytes) -> bytes:
    """Returns the records of leveldb's log without the headers in between."""
    joined = bytearray()
    position = 7  # behind W&B's own header
    while position + 7 <= len(content):
        if 32_768 - position % 32_768 < 7:
            position += 32_768 - position % 32_768
            continue
        size = int.from_bytes(content[position + 4 : position + 6], "little")
        joined += content[position + 7 : position + 7 + size]
        position += 7 + size
    return bytes(joined)


@dataclass
class Place:
    """A folder over HTTP on loopback, which asks for no password and ignores queries.

    Attributes:
        host: Its host and port.
        seen: The requests' first lines and passwords.
    """

    host: str
    seen: list[str] = field(default_factory=list)


@contextmanager
def served(folder: Path) -> Iterator[Place]:
    """Serves a folder, byte ranges included."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            basic = self.headers.get("Authorization", "").removeprefix("Basic ")
            place.seen += [self.path, base64.b64decode(basic).decode()]
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            path = Path(self.translate_path(self.path))
            if not wanted or not path.is_file():
                return super().do_GET()
            content = path.read_bytes()[int(wanted[1]) : int(wanted[2]) + 1]
            self.send_response(206)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return None

        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        place = Place(f"127.0.0.1:{listening.server_port}")
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield place
        listening.shutdown()


@dataclass(frozen=True)
class Watched:
    """A command that has ended.

    Attributes:
        code: Its exit code.
        printed: All that it printed.
        command_lines: Of each of its processes the last that was seen, with what `ps` shows.
    """

    code: int
    printed: str
    command_lines: tuple[str, ...]


def run_watched(*words: object, cwd: Path, environment: dict[str, str], log: Path) -> Watched:
    """Runs a command and watches the command lines of all its processes."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [*map(str, words)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        seen: dict[int, str] = {}
        while process.poll() is None:
            try:
                whole = psutil.Process(process.pid)
                seen |= {
                    one.pid: " ".join(one.cmdline()) or seen.get(one.pid, "") for one in (whole, *whole.children(True))
                }
            except psutil.Error:
                pass
            time.sleep(0.03)
    return Watched(process.returncode, log.read_text(errors="replace"), tuple(seen.values()))
