"""What libsndfile decodes, beside what it was given."""

import errno
import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.audio import encoded, sine

from asrscale.common.errors import AudioError
from asrscale.speech import libsndfile
from asrscale.speech.blocks import UnknownFormatError
from asrscale.speech.decoding import decode, decode_payload
from asrscale.speech.libsndfile import (
    BLOCK_FRAMES,
    libsndfile_frames,
    read_short_mp3,
    read_stored_pcm16,
    read_with_libsndfile,
)


def test_blocks_follow_one_another_without_a_gap(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9_000, 9_000, (BLOCK_FRAMES + 1_000, 2), dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 48_000)
    blocks = list(read_with_libsndfile(str(tmp_path / "a.wav")))
    assert [block.start for block in blocks] == [0, BLOCK_FRAMES] and blocks[-1].end == len(samples)
    assert np.array_equal(np.concatenate([block.samples for block in blocks]) * 32_768, samples)
    assert libsndfile_frames(str(tmp_path / "a.wav")) == (len(samples), 48_000)


def test_a_segment_begins_at_its_sample(tmp_path: Path) -> None:
    samples = np.arange(16_000, dtype=np.int16)
    soundfile.write(tmp_path / "a.flac", samples, 16_000)
    [block] = read_with_libsndfile(str(tmp_path / "a.flac"), 0.25, 0.5)
    assert block.start == 4_000 and np.array_equal(block.samples[:, 0] * 32_768, samples[4_000:8_000])


def test_what_lies_behind_the_sound_of_an_mp3_is_noticed() -> None:
    data = encoded(sine(440, 48_000), 48_000, "MP3")
    mp3 = read_short_mp3(io.BytesIO(data))
    assert mp3 is not None and mp3.is_read_to_end
    assert mp3.block.rate_hz == 48_000 and abs(mp3.block.end - 48_000) < 2_305
    joined = read_short_mp3(io.BytesIO(data + data))
    assert joined is None or not joined.is_read_to_end
    assert read_short_mp3(io.BytesIO(data[: len(data) // 2])) is None


def test_stored_samples_come_as_they_are(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9_000, 9_000, 5_000, dtype=np.int16)
    data = encoded(samples, 16_000, "FLAC")
    assert np.array_equal(read_stored_pcm16(data, 1 << 20), samples)
    assert read_stored_pcm16(encoded(samples, 8_000, "FLAC"), 1 << 20) is None  # is resampled
    assert read_stored_pcm16(data + data, 1 << 20) is None  # goes on behind its end
    with pytest.raises(AudioError):
        read_stored_pcm16(data[: len(data) // 2], 1 << 20)


def without_memory_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")  # as in a Python that was built for systems of 2014


def with_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refused)


def with_room_for_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `ulimit -f`: the write takes less than all, and says so by what it returns."""
    monkeypatch.setattr(io, "FileIO", type("FileIO", (io.FileIO,), {"write": write_a_part}))


def write_a_part(file: io.FileIO, data: bytes) -> int:
    return os.write(file.fileno(), data[:2_000])


def for_short_ones_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libsndfile, "_MEMORY_FILE_BYTES", 100)


@pytest.mark.parametrize("how", [without_memory_files, with_no_room, with_room_for_a_part, for_short_ones_only])
def test_bytes_have_the_same_sound_where_no_file_in_memory_can_be_made(
    how: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = sine(440, 48_000)
    recordings = [encoded(sound, 48_000, format) for format in ("FLAC", "WAV", "OGG", "MP3", "AIFF")]
    stored = encoded(np.arange(16_000, dtype=np.int16), 16_000, "FLAC")

    def sounds() -> list[bytes]:
        blocks = [block for data in recordings for block in read_with_libsndfile(io.BytesIO(data))]
        pcm = read_stored_pcm16(stored, 1 << 20)
        assert pcm is not None
        return [pcm.tobytes(), *(block.samples.tobytes() for block in blocks)]

    from_files = sounds()
    assert len(from_files) == 1 + len(recordings)
    before = os.listdir("/proc/self/fd")
    how(monkeypatch)
    assert sounds() == from_files
    assert os.listdir("/proc/self/fd") == before


def test_no_file_stays_open_whatever_the_bytes_are() -> None:
    data = encoded(sine(440, 16_000), 16_000, "FLAC")
    damaged = [data[: len(data) // 2], data[:100], b"fLaC" + bytes(200), b"no sound", b"", data + data]
    before = os.listdir("/proc/self/fd")
    for one in (data, *damaged):
        with suppress(AudioError):
            list(read_with_libsndfile(io.BytesIO(one)))
        with suppress(AudioError):
            read_stored_pcm16(one, 1 << 20)
    assert os.listdir("/proc/self/fd") == before


def test_what_it_does_not_know_is_said_to_be_so() -> None:
    with pytest.raises(UnknownFormatError, match=r"^unreadable: "):
        list(read_with_libsndfile(io.BytesIO(b"no sound at all" * 99)))


@pytest.mark.parametrize("name", ["._", ".AppleDouble/"])
@pytest.mark.parametrize(("container", "seconds"), [("MP3", 3), ("MP3", 200), ("FLAC", 3)])
def test_the_folder_that_one_stands_in_changes_no_sample(
    name: str, container: str, seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, seconds * 16_000)
    path = tmp_path / "recording"
    path.write_bytes(encoded(noise, 16_000, container))
    data = path.read_bytes()

    def decode_all() -> list[str]:
        of_path, _ = decode(str(path), 1_000.0)
        of_bytes, _ = decode(io.BytesIO(data), 1_000.0)
        decoded = (of_path, of_bytes, decode_payload(data, len(noise)))
        return [hashlib.sha256(samples.tobytes()).hexdigest() for samples in decoded]

    elsewhere = decode_all()
    if name.endswith("/"):
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(bytes(4_096))
    monkeypatch.chdir(tmp_path)
    if container == "MP3":  # of which libsndfile itself is led astray
        with open(path, "rb") as file, pytest.raises(soundfile.LibsndfileError):
            soundfile.SoundFile(file.fileno(), closefd=False)
    assert decode_all() == elsewhere
