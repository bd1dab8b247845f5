"""A server that answers as the hub of Hugging Face does, for what its file system asks of datasets."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40


@dataclass
class Hub:
    """What the server has, and what it was asked for.

    Attributes:
        url: For HF_ENDPOINT.
        datasets: The files of each dataset by its id.
        gated: Ids of datasets of which only names are shown, until their terms are accepted.
        failures: How many of the next requests for a file's bytes fail, as the hub is overloaded.
        sent: Of each request for bytes, the path and how many were sent.
    """

    url: str = ""
    datasets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    gated: frozenset[str] = frozenset()
    failures: int = 0
    sent: list[tuple[str, int]] = field(default_factory=list)

    def find(self, path: str, prefix: str) -> tuple[str, str]:
        """The id of the dataset that a request is for, and what follows it; the id is empty where there is none."""
        owner, name, *rest = path.removeprefix(prefix).split("/")
        dataset = f"{owner}/{name}"
        return (dataset if dataset in self.datasets else ""), "/".join(rest)


@contextmanager
def serve_hub(datasets: Mapping[str, Mapping[str, bytes]], gated: frozenset[str] = frozenset()) -> Iterator[Hub]:
    """Serves datasets while the context lasts."""
    hub = Hub(datasets=datasets, gated=gated)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            _answer(hub, self, unquote(urlsplit(self.path).path))

        def do_HEAD(self) -> None:
            self.do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()


def _answer(hub: Hub, request: BaseHTTPRequestHandler, path: str) -> None:
    """Answers a request, as https://huggingface.co/docs/hub/api has it."""
    is_api = path.startswith("/api/")
    prefix = next(prefix for prefix in ("/api/datasets/", "/cdn/", "/datasets/") if path.startswith(prefix))
    dataset, rest = hub.find(path, prefix)
    if not dataset:  # the hub does not tell strangers whether there is none or it is private
        _send(request, 401, {"error": "x"}, {"X-Error-Code": "RepoNotFound"})
    elif is_api and rest.startswith("tree/"):
        _, _, folder = rest.removeprefix("tree/").partition("/")
        _send_tree(hub, request, dataset, folder)
    elif is_api:
        _send(request, 200, {"id": dataset, "sha": COMMIT, "private": False, "gated": dataset in hub.gated and "auto"})
    elif dataset in hub.gated:
        message = f"Access to dataset {dataset} is restricted and you are not in the authorized list."
        _send(request, 403, {"error": "x"}, {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
    elif path.startswith("/cdn/"):
        _send_bytes(hub, request, rest, hub.datasets[dataset][rest])
    else:  # large files lie elsewhere
        name = rest.removeprefix("resolve/").partition("/")[2]
        _send(request, 302, {}, {"Location": f"{hub.url}/cdn/{dataset}/{name}"})


def _send_tree(hub: Hub, request: BaseHTTPRequestHandler, dataset: str, folder: str) -> None:
    files = hub.datasets[dataset]
    prefix = f"{folder}/" if folder else ""
    inside = {name: content for name, content in files.items() if name.startswith(prefix)}
    if not inside:
        _send(request, 404, {"error": "x"}, {"X-Error-Code": "EntryNotFound"})
        return
    is_recursive = "recursive=true" in request.path.lower()
    folders = {name[: at + 1].rstrip("/") for name in inside for at in range(len(prefix), len(name)) if name[at] == "/"}
    entries: list[dict[str, Any]] = [
        {"type": "directory", "oid": "0", "size": 0, "path": name}
        for name in sorted(folders)
        if is_recursive or "/" not in name.removeprefix(prefix)
    ]
    entries += [
        {"type": "file", "oid": "0", "size": len(content), "path": name}
        for name, content in inside.items()
        if is_recursive or "/" not in name.removeprefix(prefix)
    ]
    _send(request, 200, entries)


def _send_bytes(hub: Hub, request: BaseHTTPRequestHandler, name: str, content: bytes) -> None:
    if hub.failures:
        hub.failures -= 1
        _send(request, 503, {"error": "overloaded"})
        return
    wanted = request.headers.get("Range")
    first, last = 0, len(content) - 1
    if wanted:
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        first, last = int(start), min(int(end or last), last)
    piece = content[first : last + 1]
    hub.sent.append((name, len(piece)))
    request.send_response(206 if wanted else 200)
    request.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
    request.send_header("Content-Length", str(len(piece)))
    request.end_headers()
    request.wfile.write(piece)


def _send(request: BaseHTTPRequestHandler, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
    data = json.dumps(content).encode()
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data)
