"""A server on loopback that answers as it likes."""

import gzip
import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

Answer: TypeAlias = tuple[int, dict[str, str], bytes]


def _whole(content: bytes, **headers: str) -> Answer:
    return 200, {"Content-Length": str(len(content)), **headers}, content


def _bomb(path: str, content: bytes) -> Answer:
    return _whole(gzip.compress(bytes(64 << 20)), **{"Content-Encoding": "gzip"})


def _longer(path: str, content: bytes) -> Answer:
    return 200, {"Content-Length": str(2**62)}, content


def _negative(path: str, content: bytes) -> Answer:
    return 200, {"Content-Length": "-5"}, content


def _circle(path: str, content: bytes) -> Answer:
    return 302, {"Location": path, "Content-Length": "0"}, b""


def _elsewhere(path: str, content: bytes) -> Answer:
    return 302, {"Location": "http://127.0.0.1:9/x", "Content-Length": "0"}, b""


def _huge_chunk(path: str, content: bytes) -> Answer:
    return 200, {"Transfer-Encoding": "chunked"}, b"ffffffffffffffff\r\n" + content


def _long_header(path: str, content: bytes) -> Answer:
    return _whole(content, **{"X-Long": "x" * 100_000})


def _noise(path: str, content: bytes) -> Answer:
    return _whole(np.random.default_rng(len(content)).bytes(500))


def _honest(path: str, content: bytes) -> Answer:
    return _whole(content)


ANSWERS: tuple[Callable[[str, bytes], Answer], ...] = (
    *(_bomb, _longer, _negative, _circle, _elsewhere, _huge_chunk, _long_header, _noise, _honest),
)


@contextmanager
def serve_hostile(files: Mapping[str, bytes], answer: Callable[[str, bytes], Answer]) -> Iterator[str]:
    """Serves files by their paths, all by one of ANSWERS; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send(with_body=True)

        def do_HEAD(self) -> None:
            self.send(with_body=False)

        def send(self, *, with_body: bool) -> None:
            status, headers, body = answer(self.path, files.get(self.path, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # whoever asked has gone
                self.close_connection = True

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
