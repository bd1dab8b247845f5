"""What is found in a folder before a run, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asrscale.augmentation import sound_folders
from asrscale.augmentation.effects import Effect, Kind
from asrscale.augmentation.sound_folders import open_folder
from asrscale.augmentation.sound_recordings import Recordings
from asrscale.common.errors import CliError

RNG = np.random.default_rng(0)


def opened(folder: Path, kind: Kind = "noise") -> Recordings:
    return open_folder(Effect(kind, folder=str(folder)))


def write(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, RNG.normal(0, 0.1, int(seconds * 16_000)), 16_000)
    return path


def test_recordings_are_found_at_any_depth_and_behind_links_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "noises"
    for name in ("b.wav", "a/c.FLAC", "a/d/e.ogg"):
        write(root / name)
    write(tmp_path / "elsewhere" / "f.wav")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "circle").symlink_to(root)
    (root / "README").write_text("free")
    (root / "._b.wav").write_bytes(b"what macOS leaves")
    (root / ".hidden").mkdir()
    write(root / ".hidden" / "g.wav")
    found = opened(root)
    assert found.paths == ("a/c.FLAC", "a/d/e.ogg", "b.wav", "link/f.wav")
    assert found.notes == (f"--augment noise={root}: 1 of 5 files are no recordings by their names",)


def test_the_same_recordings_have_the_same_fingerprint_wherever_they_lie(tmp_path: Path) -> None:
    a = write(tmp_path / "a" / "x.wav", seconds=6)
    write(tmp_path / "a" / "y.wav")
    for copy in ("b", "c", "d", "e"):
        os.system(f"cp -r {tmp_path}/a {tmp_path}/{copy}")
    assert opened(tmp_path / "b").fingerprint == opened(tmp_path / "a").fingerprint
    (tmp_path / "c" / "x.wav").rename(tmp_path / "c" / "z.wav")
    (tmp_path / "d" / "y.wav").unlink()
    for place, other in ((2_000, "e"), (-2_000, "b")):  # the same size, other sound
        content = bytearray(a.read_bytes())
        content[place] ^= 1
        (tmp_path / other / "x.wav").write_bytes(content)
    fingerprints = {opened(tmp_path / name).fingerprint for name in "abcde"}
    assert len(fingerprints) == 5


def test_shards_are_known_by_what_is_in_them(tone_shards: Path) -> None:
    train, valid = opened(tone_shards / "train"), opened(tone_shards / "valid")
    assert train.index is not None and len(train.fingerprint) == len(valid.fingerprint) == 16
    assert train.fingerprint != valid.fingerprint


def test_a_folder_that_is_none_is_refused(tmp_path: Path, tone_shards: Path) -> None:
    with pytest.raises(
        CliError, match=rf"^--augment noise={tmp_path}/no: there is no such folder: give a folder of rec"
    ):
        opened(tmp_path / "no")
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match=r"file: is no folder: give"):
        opened(tmp_path / "file", "rir")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CliError, match=r"empty: it is empty: give a folder with files such as \.wav"):
        opened(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(CliError, match="none of its 1 files is a recording by its name"):
        opened(tmp_path / "empty")
    with pytest.raises(CliError, match=rf"it holds data set folders: name one of them, such as {tone_shards}/train"):
        opened(tone_shards)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "unreadable: an empty file"),
        (b"no sound at all" * 100, "unreadable"),
        ("cut", "truncated"),
    ],
)
def test_a_damaged_noise_is_refused_before_the_run(content: bytes | str, reason: str, tmp_path: Path) -> None:
    write(tmp_path / "good.wav")
    bad = write(tmp_path / "sub" / "bad.wav")
    bad.write_bytes(bad.read_bytes()[:9_000] if isinstance(content, str) else content)
    with pytest.raises(
        CliError, match=rf"noise={tmp_path}: one recording cannot be used: sub/bad\.wav: {reason}.*: rep"
    ):
        opened(tmp_path)
    write(tmp_path / "other.wav").write_bytes(b"")
    with pytest.raises(CliError, match=r"2 recordings cannot be used: other\.wav: "):
        opened(tmp_path)


def test_an_impulse_response_that_is_silent_or_long_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(100), 16_000)
    with pytest.raises(CliError, match=r"silent\.wav: silent: all its samples are zero"):
        opened(tmp_path, "rir")
    write(tmp_path / "silent.wav", seconds=25)
    with pytest.raises(CliError, match=r"silent\.wav: too long: more than 20 s"):
        opened(tmp_path, "rir")


def test_of_very_many_recordings_a_sample_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        write(tmp_path / f"{number}.wav", seconds=0.1)
    (tmp_path / "3.wav").write_bytes(b"damaged")
    monkeypatch.setattr(sound_folders, "MAX_CHECKED", 5)
    found = opened(tmp_path)  # of 0, 2, 4, 6 and 8
    assert found.notes == (f"--augment noise={tmp_path}: 5 of 9 recordings were opened beforehand",)
    (tmp_path / "4.wav").write_bytes(b"damaged")
    with pytest.raises(CliError, match=r"4\.wav: unreadable"):
        opened(tmp_path)
