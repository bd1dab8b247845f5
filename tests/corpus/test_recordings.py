"""Where the recording of a row lies, and opening it."""

import io
from pathlib import Path

import pytest
from helpers.sources import row_of, rows_of, write

from asrscale.common.errors import AudioError
from asrscale.corpus.recordings import audio_path, open_audio


@pytest.mark.parametrize("audio", ["a.mp3", "clips/a.mp3", "clips/../a.mp3", "./a.mp3"])
def test_paths_inside_the_audio_root(tmp_path: Path, audio: str) -> None:
    path = audio_path(row_of(audio), str(tmp_path))
    assert Path(path).is_relative_to(tmp_path)
    assert audio_path(row_of(path), str(tmp_path)) == path  # absolute, but inside


@pytest.mark.parametrize("audio", ["../a.mp3", "clips/../../a.mp3", "/etc/passwd", "{root}-other/a.mp3", "a\0.mp3"])
def test_paths_outside_the_audio_root(tmp_path: Path, audio: str) -> None:
    with pytest.raises(AudioError, match=r"^path outside the audio root: "):
        audio_path(row_of(audio.format(root=tmp_path)), str(tmp_path))


def test_links_are_followed_below_the_audio_root_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "clips").mkdir(parents=True)
    (tmp_path / "secret.wav").touch()
    (root / "clips/a.wav").touch()
    (root / "out.wav").symlink_to(tmp_path / "secret.wav")
    (root / "up").symlink_to(tmp_path)
    (root / "in.wav").symlink_to(root / "clips/a.wav")
    for name in ("out.wav", "up/secret.wav", str(root / "up/secret.wav")):
        with pytest.raises(AudioError, match=r"^path outside the audio root: "):
            open_audio(row_of(name), str(root))
    assert open_audio(row_of("in.wav"), str(root)) == str(root / "in.wav")
    (tmp_path / "link").symlink_to(root)  # the root itself may be one
    assert open_audio(row_of("clips/a.wav"), str(tmp_path / "link"))


def test_urls_below_a_remote_root_or_of_a_known_protocol() -> None:
    assert audio_path(row_of("clips/a.mp3"), "s3://bucket/cv/") == "s3://bucket/cv/clips/a.mp3"
    assert audio_path(row_of("gs://other/a.mp3"), "/data") == "gs://other/a.mp3"


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("../secret", "s3://bucket/cv"),
        ("/etc/passwd", "memory://cv"),
        ("file:///etc/passwd", "/data"),
        ("simplecache::file:///etc/passwd", "s3://bucket/cv/../../.."),
    ],
)
def test_other_urls_never_lead_around_the_root(name: str, root: str) -> None:
    try:
        path = audio_path(row_of(name), root)
    except AudioError as error:
        assert str(error).startswith("path outside the audio root: ")
    else:
        assert path.startswith(root.rstrip("/") + "/")  # a strange name below the root is but a name


def test_a_missing_recording(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"^missing file: not below the audio root$"):
        open_audio(row_of("absent.wav"), str(tmp_path))


def test_recordings_over_http(tmp_path: Path, http_server: object) -> None:
    url = http_server.url
    path = write(tmp_path / "a.csv", f"filename,text\n{url}/train/dataset.json,x\n{url}/absent.wav,y\n")
    here, absent = rows_of(path)
    content = open_audio(here, "/nowhere")
    assert isinstance(content, io.BytesIO)
    assert content.getvalue().startswith(b"{")
    http_server.failures = 2  # for a moment
    assert open_audio(row_of("train/dataset.json"), url).getvalue() == content.getvalue()
    with pytest.raises(AudioError, match=r"^missing file: "):
        open_audio(absent, "/nowhere")
