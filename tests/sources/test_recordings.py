"""Where the recording of a row lies, and opening it."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.sources import row_of, rows_of, write

from asrscale.common.errors import AudioError
from asrscale.sources.recordings import audio_path, open_audio


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


def test_links_may_lead_below_another_root(tmp_path: Path) -> None:
    """As `clips -> /disk/clips`, and the snapshots of the hub's cache, whose files are links into blobs."""
    snapshot = tmp_path / "snapshots/1"
    snapshot.mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/abc").touch()
    (snapshot / "a.wav").symlink_to("../../blobs/abc")
    (snapshot / "clips").symlink_to(tmp_path / "blobs")
    with pytest.raises(AudioError, match=r"^path outside the audio root: "):
        open_audio(row_of("a.wav"), str(snapshot))
    roots = (str(snapshot), str(tmp_path / "blobs"))
    assert open_audio(row_of("a.wav"), roots) == str(snapshot / "a.wav")
    assert open_audio(row_of("clips/abc"), roots) == str(snapshot / "clips/abc")


def test_roots_are_searched_in_their_order_and_hold_absolute_paths(tmp_path: Path) -> None:
    for name in ("one/a.wav", "two/a.wav", "two/b.wav", "three/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    roots = (str(tmp_path / "one"), str(tmp_path / "two"))
    assert open_audio(row_of("a.wav"), roots) == f"{roots[0]}/a.wav"
    assert open_audio(row_of("b.wav"), roots) == f"{roots[1]}/b.wav"
    assert open_audio(row_of(f"{roots[1]}/a.wav"), roots) == f"{roots[1]}/a.wav"
    assert open_audio(row_of("b.wav"), ("memory://absent", roots[1])) == f"{roots[1]}/b.wav"
    for outside in ("../three/c.wav", str(tmp_path / "three/c.wav"), "..\\three\\c.wav", "../three/c"):
        with pytest.raises(AudioError, match=r"^path outside the audio root: "):
            open_audio(row_of(outside), roots)
    with pytest.raises(AudioError, match=r"^missing file"):
        open_audio(row_of("z.wav"), roots)


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("clips\\a.wav", "clips/a.wav"),
        (".\\clips\\sub\\a.wav", "clips/sub/a.wav"),
        ("clips/é.wav", "clips/e\u0301.wav"),
        ("clips/e\u0301.wav", "clips/é.wav"),
        ("가나/한.wav", "\u1100\u1161\u1102\u1161/\u1112\u1161\u11ab.wav"),
        ("clips\\é", "clips/e\u0301.mp3"),
        ("common_voice_en_1", "common_voice_en_1.mp3"),
        ("v1.0_b", "v1.0_b.flac"),
        ("a\\b.wav", "a\\b.wav"),  # a name that has it
        ("a,b=c.wav", "a,b=c.wav"),
    ],
)
def test_other_spellings_of_the_same_path(tmp_path: Path, written: str, on_disk: str) -> None:
    file = tmp_path / on_disk
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    assert open_audio(row_of(written), str(tmp_path)) == str(file)


def test_a_name_without_extension_is_found_by_what_the_folder_has(tmp_path: Path) -> None:
    (tmp_path / "a.WAV").touch()
    (tmp_path / "a.txt").touch()
    assert open_audio(row_of("a"), str(tmp_path)) == str(tmp_path / "a.WAV")
    with pytest.raises(AudioError, match=r"^missing file"):
        open_audio(row_of("b"), str(tmp_path))
    (tmp_path / "b.flac").touch()
    assert open_audio(row_of("b"), str(tmp_path)) == str(tmp_path / "b.flac")


def test_a_name_without_extension_of_two_recordings_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.mp3").touch()
    with pytest.raises(AudioError, match=r"^ambiguous name: a\.\w+, a\.\w+ are there: write the extension"):
        open_audio(row_of("a"), str(tmp_path))
    (tmp_path / "a").touch()
    assert open_audio(row_of("a"), str(tmp_path)) == str(tmp_path / "a")
    with pytest.raises(AudioError, match=r"^missing file"):
        open_audio(row_of("a.flac"), str(tmp_path))  # an extension that is written is meant


def test_urls_below_a_remote_root_or_of_a_known_protocol() -> None:
    assert audio_path(row_of("clips/a.mp3"), "s3://bucket/cv/") == "s3://bucket/cv/clips/a.mp3"
    assert audio_path(row_of("gs://other/a.mp3"), ("/data", "gs://other")) == "gs://other/a.mp3"


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
    roots = ("/nowhere", url)
    content = open_audio(here, roots)
    assert isinstance(content, io.BytesIO)
    assert content.getvalue().startswith(b"{")
    http_server.failures = 2  # for a moment
    assert open_audio(row_of("train/dataset.json"), url).getvalue() == content.getvalue()
    with pytest.raises(AudioError, match=r"^missing file: "):
        open_audio(absent, roots)


def test_rows_fetch_only_from_below_the_roots_and_the_place_of_their_manifest() -> None:
    roots = ("/data", "https://Host.org/corpus/", "s3://bucket/clips")
    for allowed in (
        "https://host.org/corpus/a.wav",
        "https://host.org/corpus/b/a%20b.wav?sig=1",
        "s3://bucket/clips/a.wav",
    ):
        assert audio_path(row_of(allowed), roots) == allowed
    for elsewhere in (
        "http://127.0.0.1:8000/admin",
        "http://169.254.169.254/latest/meta-data/",
        "http://host.org/corpus/a.wav",
        "https://host.org:8443/corpus/a.wav",
        "https://host.org/corpus",
        "https://host.org/corpus2/a.wav",
        "https://host.org/corpus/../private/a.wav",
        "https://host.org/corpus/%2e%2e/private/a.wav",
        "https://host.org/corpus/%2E./%2e%2E/private",
        "https://host.org@evil.org/corpus/a.wav",
        "https://evil.org\\@host.org/corpus/a.wav",
        "https://host.org.evil.org/corpus/a.wav",
        "s3://bucket/private/a.wav",
        "s3://other/clips/a.wav",
        "gs://bucket/clips/a.wav",
    ):
        with pytest.raises(AudioError, match=r"^address"):
            audio_path(row_of(elsewhere), roots)
    beside = replace(row_of("https://h.org/c/clips/a.wav"), source="https://ann:pw@h.org/c/m.json?sig=/x")
    assert audio_path(beside, "/nowhere") == beside.audio
    with pytest.raises(AudioError, match=r"^address"):
        audio_path(replace(beside, audio="https://h.org/d/a.wav"), "/nowhere")
