"""Fetching over HTTP: bounds on time and bytes, no compression, and redirects."""

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'asrscale[remote]'")

from asrscale.common import http_client, storage
from asrscale.common.errors import DataError
from asrscale.common.storage import Range, open_binary, read_bytes, read_ranges

SECRET = b"what only this machine may ask for"
CHUNK = bytes(1 << 16)


class Handler(BaseHTTPRequestHandler):
    """Answers as a hostile server does; the path says how."""

    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Accept-Encoding", "")))
        getattr(self, f"answer_{self.path.strip('/')}")()

    def answer_secret(self) -> None:
        self.begin(200, {"Content-Length": str(len(SECRET))})
        self.wfile.write(SECRET)

    def answer_elsewhere(self) -> None:
        self.begin(302, {"Location": f"http://localhost:{self.server.server_port}/secret", "Content-Length": "0"})

    def answer_here(self) -> None:
        self.begin(302, {"Location": "/secret", "Content-Length": "0"})

    def answer_bomb(self) -> None:
        body = gzip.compress(bytes(1 << 24))
        self.begin(206, {"Content-Encoding": "gzip", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def answer_endless(self) -> None:
        self.begin(206, {})
        try:
            while True:
                self.wfile.write(CHUNK)
        except OSError:
            pass

    def answer_trickle(self) -> None:
        self.begin(200, {"Content-Length": "1000"})
        try:
            for _ in range(1000):
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass

    def do_HEAD(self) -> None:
        self.begin(200, {"Content-Length": "1000", "Accept-Ranges": "bytes"})

    def answer_liar(self) -> None:
        is_beginning = self.headers.get("Range") == "bytes=0-0"  # says the truth of it, so that the file seems good
        size = 1 if is_beginning else 1 << 62
        self.begin(206, {"Content-Length": str(size)})
        self.wfile.write(b"x")

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(storage, "FIRST_WAIT_SECONDS", 0.01)
    handler = type("Recording", (Handler,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_redirect_to_another_server_is_not_followed_for_a_row(url: str) -> None:
    assert read_bytes(f"{url}/elsewhere") == SECRET  # of an address that the user gave
    started_seconds = time.monotonic()
    with pytest.raises(DataError, match="leads to another one, localhost"):
        read_bytes(f"{url}/elsewhere", stays=True)
    assert time.monotonic() - started_seconds < 10
    assert read_bytes(f"{url}/here", stays=True) == SECRET


def test_nothing_is_unpacked_and_no_more_read_than_was_asked_for(url: str) -> None:
    [data] = read_ranges([Range(f"{url}/bomb", 0, 1 << 20)])
    assert data == gzip.compress(bytes(1 << 24))  # as it is, to be refused by its checksum
    with pytest.raises(DataError, match="sends whole files only, no byte ranges"):
        read_ranges([Range(f"{url}/endless", 0, 100)])


def test_a_whole_file_has_a_largest_size(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAX_FILE_BYTES", 1 << 20)
    with pytest.raises(DataError, match="larger than 1,048,576 bytes"):
        read_bytes(f"{url}/endless", stays=True)


def test_an_answer_shorter_than_it_says_is_an_error_of_the_file(url: str) -> None:
    with pytest.raises(OSError, match=r"liar.* cannot be read: .*content length"), open_binary(f"{url}/liar") as file:
        file.read(500)


def test_a_server_that_trickles_is_left(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.2)
    storage.fsspec.get_filesystem_class("http").clear_instance_cache()
    with pytest.raises(DataError):
        read_bytes(f"{url}/trickle", stays=True)
    storage.fsspec.get_filesystem_class("http").clear_instance_cache()


@pytest.mark.parametrize("place", [(-1, 10), (0, -10), (-(2**62), 1)])
def test_bytes_that_no_file_has_are_refused_at_once(place: tuple[int, int], url: str) -> None:
    for path in (f"{url}/secret", __file__):
        with pytest.raises(DataError, match="no file has such bytes"):
            read_ranges([Range(path, *place)])
