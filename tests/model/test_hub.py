"""A stand-in of the hub's HTTP API on loopback takes what is uploaded; nothing leaves the machine."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from asrscale.common.errors import CliError
from asrscale.model.hub import check_login, push_model
from asrscale.training.config import train_config
from asrscale.training.run import train
from asrscale.training.watch import Watch

Run = Callable[..., subprocess.CompletedProcess[str]]
CANARY = "hf_canaryCanaryCanaryCanary"


@dataclass
class Hub:
    """What the stand-in holds, and how it behaves."""

    url: str
    status: int = 200  # of its answers
    files: dict[str, bytes] = field(default_factory=dict)  # committed, by path
    objects: dict[str, bytes] = field(default_factory=dict)  # uploaded by LFS, by hash
    visibility: str = ""  # that the repository was to have
    tokens: set[str] = field(default_factory=set)


def answer_to(hub: Hub, path: str, body: bytes) -> dict[str, object]:
    """What the hub answers to a POST request of an upload; commits change what it holds."""
    answers = {
        "/api/repos/create": answer_to_create,
        "/api/models/me/speech/preupload/main": answer_to_preupload,
        "/me/speech.git/info/lfs/objects/batch": answer_to_lfs_batch,
        "/api/models/me/speech/commit/main": answer_to_commit,
        "/api/validate-yaml": lambda hub, body: {"errors": [], "warnings": []},
    }
    return answers[path](hub, body)


def answer_to_create(hub: Hub, body: bytes) -> dict[str, object]:
    asked = json.loads(body)
    hub.visibility = asked.get("visibility", "private" if asked.get("private") else "public")
    return {"url": f"{hub.url}/me/speech"}


def answer_to_preupload(hub: Hub, body: bytes) -> dict[str, object]:
    files = []
    for file in json.loads(body)["files"]:
        mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
        files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None})
    return {"files": files}


def answer_to_lfs_batch(hub: Hub, body: bytes) -> dict[str, object]:
    objects = []
    for one in json.loads(body)["objects"]:
        upload = {"href": f"{hub.url}/lfs/{one['oid']}"}
        objects.append({**one, "actions": {"upload": upload}})
    return {"objects": objects}


def answer_to_commit(hub: Hub, body: bytes) -> dict[str, object]:
    for line in map(json.loads, body.splitlines()):
        value = line["value"]
        if line["key"] == "file":
            hub.files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            hub.files[value["path"]] = hub.objects[value["oid"]]
    return {"commitUrl": f"{hub.url}/me/speech/commit/1", "commitOid": "1" * 40}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the Hugging Face hub on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hub.tokens.add(self.headers.get("Authorization", ""))
            if hub.status != 200:
                echo = f"no entry for {self.headers.get('Authorization')}"  # as a careless proxy may answer
                return self.answer({"error": echo}, hub.status)
            return self.answer(answer_to(hub, self.path, body))

        def do_PUT(self) -> None:
            hub.objects[self.path.removeprefix("/lfs/")] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer({})

        def answer(self, value: object, status: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        hub = Hub(f"http://127.0.0.1:{listening.server_port}")
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks Git LFS
        monkeypatch.setenv("HF_TOKEN", CANARY)
        yield hub
        listening.shutdown()


def test_a_folder_is_uploaded_as_it_is(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {
        "model.safetensors": bytes(range(256)) * 99,
        "README.md": b"---\nx: y\n---\n# card\n",
        "vocab.json": b"{}",
    }
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    assert push_model(tmp_path, "me/speech")
    assert hub.visibility == "private"
    assert hub.files == content and list(hub.objects.values()) == [content["model.safetensors"]]
    assert hub.tokens == {f"Bearer {CANARY}"}
    assert capsys.readouterr() == (f"uploaded: {hub.url}/me/speech\n", "")


def test_a_repository_is_made_public_only_where_that_is_said(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"# card")
    assert push_model(tmp_path, "me/speech", public=True)
    assert hub.visibility == "public"
    with pytest.raises(CliError, match="--public is about the repository of --push_to_hub"):
        train_config(train=("a",), valid=("a",), public=True)


@pytest.mark.parametrize("status", [401, 500])
def test_a_failed_upload_is_a_warning_that_says_how_to_repeat_it(
    status: int, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.status = status
    assert not push_model(tmp_path, "me/speech")
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1 and str(status) in warning and CANARY not in warning
    assert "no entry for Bearer …" in warning
    assert warning.endswith(f"repeat it with hf upload me/speech {tmp_path} --private\n")


def test_no_login_and_bad_ids_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    check_login("me/speech")
    with pytest.raises(CliError, match=r"--push_to_hub a/b/c: give an id such as you/name"):
        check_login("a/b/c")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(CliError, match="needs a login"):
        check_login("me/speech")
    config = train_config(train=("nowhere",), valid=("nowhere",), push_to_hub="me/speech")
    with pytest.raises(CliError, match="needs a login"):  # before it looks at the data
        train(config, Watch(tmp_path))


def test_a_run_survives_a_failed_upload_and_uploads_when_repeated(
    hub: Hub, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    run = tmp_path / "run"
    words = [
        sys.executable, "launch/train.py", "--train", tone_shards / "train", "--valid", tone_shards / "valid",
        "--run", run, "--model", "tiny", "--max_steps", 2, "--warmup_steps", 1, "--wandb", "off",
        "--export_dtype", "bf16", "--push_to_hub", "me/speech",
    ]  # fmt: skip
    secret = dict(HF_TOKEN=CANARY, HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1")
    hub.status = 500
    first = run_command(*words, **secret)
    assert first.returncode == 0, first.stderr
    assert f"repeat it with hf upload me/speech {run / 'model'}" in first.stderr and not hub.files
    hub.status = 200
    again = run_command(*words, **secret)
    assert again.returncode == 0 and "is complete" in again.stderr, again.stderr
    assert f"uploaded: {hub.url}/me/speech" in again.stdout
    assert hub.files == {path.name: path.read_bytes() for path in (run / "model").iterdir()}
    assert 'pipeline("automatic-speech-recognition", "me/speech")' in hub.files["README.md"].decode()
    seen = [first.stdout, first.stderr, again.stdout, again.stderr]
    seen += [path.read_bytes().decode(errors="replace") for path in run.rglob("*") if path.is_file()]
    assert hub.tokens == {f"Bearer {CANARY}"} and not any(CANARY in text for text in seen)
    assert json.loads(hub.files["config.json"])["dtype"] == "bfloat16"
