"""A stand-in of the hub on loopback that models are downloaded from; nothing leaves the machine."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants


@dataclass
class Repository:
    """A model on the stand-in: a folder for each revision, by branch, tag or commit; or a refusal."""

    revisions: dict[str, Path] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None  # a status, and the hub's code of the error

    def folder_of(self, revision: str) -> Path | None:
        """Returns the folder of a branch, a tag or a commit."""
        by_commit = {commit_of(folder): folder for folder in self.revisions.values()}
        return (self.revisions | by_commit).get(revision)


class Handler(BaseHTTPRequestHandler):
    """Answers requests for files of `repositories`, which a subclass has."""

    repositories: dict[str, Repository]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        owner, name, resolve, *rest = self.path.partition("?")[0].strip("/").split("/")
        repository = self.repositories.get(f"{owner}/{name}", Repository(refusal=(401, "RepoNotFound")))
        if resolve != "resolve":
            self.refuse(404, "EntryNotFound")
        elif repository.refusal:
            self.refuse(*repository.refusal)
        else:
            self.answer(repository.folder_of(rest[0]), "/".join(rest[1:]))

    def answer(self, folder: Path | None, path: str) -> None:
        if folder is None:
            self.refuse(404, "RevisionNotFound")
        elif not (folder / path).is_file():
            self.refuse(404, "EntryNotFound", commit_of(folder))
        else:
            self.give(folder, (folder / path).read_bytes())

    def give(self, folder: Path, content: bytes) -> None:
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit_of(folder))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def refuse(self, status: int, code: str, commit: str = "") -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(repositories: dict[str, Repository], cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Has huggingface_hub and transformers download from `repositories` into `cache`."""

    handler = type("HubHandler", (Handler,), {"repositories": repositories})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        url = f"http://127.0.0.1:{listening.server_port}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(cache))
        yield
        listening.shutdown()


def commit_of(folder: Path) -> str:
    """Returns the commit that the stand-in says a folder is."""
    return hashlib.sha1(str(folder).encode()).hexdigest()
