"""Recordings whose headers say less, more or nothing: all of their sound, or a true reason."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.audio import apev2_tag, decoded_by_ffmpeg, encoded, encoded_by_ffmpeg, id3v2_tag, sine

from asrscale.common.errors import AudioError
from asrscale.speech.blocks import NamedBytes
from asrscale.speech.decoding import decode, decode_long, decode_payload
from asrscale.speech.libsndfile import read_short_mp3
from asrscale.speech.parts import find_parts, probe_seconds, read_blocks
from asrscale.speech.pcm import resample, to_pcm16

BARE = {"write_xing": "0", "id3v2_version": "0"}
# Loud noise, then a quiet tone: the first frame of a variable bit rate says nothing about the others.
SPEECH = np.concatenate([sine(300, 44_100, 9, 0.05)]).astype(np.float32)
SPEECH[: 3 * 44_100] += np.random.default_rng(0).uniform(-0.6, 0.6, 3 * 44_100)


def mp3(frequency_hz: float, **options: str) -> bytes:
    return encoded_by_ffmpeg(sine(frequency_hz, 16_000, 2), 16_000, "mp3", "libmp3lame", options)


A, B = mp3(300, id3v2_version="0"), mp3(500, id3v2_version="0")
A_BARE = mp3(300, **BARE)
VBR = encoded_by_ffmpeg(SPEECH, 44_100, "mp3", "libmp3lame", {"q": "4", "flags": "+qscale", **BARE})
ABR = encoded_by_ffmpeg(SPEECH, 44_100, "mp3", "libmp3lame", {"b": "48k", "abr": "1", **BARE})


def check_all_decoders(path: Path, num_samples: int, tolerance: int = 0) -> np.ndarray:
    """Every way to decode a file gives so many samples of one sound; returns them."""
    samples, rate_hz = decode(path, 60)
    assert abs(len(samples) - num_samples) <= tolerance
    at_16khz = to_pcm16(resample(samples, rate_hz))
    assert np.array_equal(decode(io.BytesIO(path.read_bytes()), 60)[0], samples)
    assert np.array_equal(decode_payload(path.read_bytes()), at_16khz)
    assert np.array_equal(decode_long(path), at_16khz)
    assert abs(probe_seconds(path) - num_samples / rate_hz) < 0.06
    start, end = len(samples) // 2, len(samples) - 100
    segment, _ = decode(path, 60, start / rate_hz, (end - start) / rate_hz)
    assert np.array_equal(segment, samples[start:end])
    return samples


@pytest.mark.parametrize(
    "data", [VBR, ABR, id3v2_tag(1_000) + ABR, id3v2_tag(60_000) + VBR + apev2_tag(20_000)], ids=range(4)
)
def test_an_mp3_that_does_not_say_how_long_it_is(
    data: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(data)
    frames = VBR if VBR in data else ABR
    expected, _ = decoded_by_ffmpeg(frames)
    assert len(expected) >= 9 * 44_100
    samples = check_all_decoders(path, len(expected))
    assert np.abs(samples - expected[:, 0]).max() < 1e-5
    assert soundfile.info(io.BytesIO(frames)).duration < 8  # what libsndfile guesses
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "data",
    [A + B, id3v2_tag(60_000) + A + B, A + id3v2_tag(60_000) + B, id3v2_tag(9_000) + A + b"TAG" + bytes(125) + B],
    ids=range(4),
)
def test_joined_mp3s_are_decoded_to_the_end(data: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(data)
    expected, _ = decoded_by_ffmpeg(A + B)
    assert len(expected) > 4 * 16_000
    samples = check_all_decoders(path, len(expected))
    assert np.array_equal(samples, expected[:, 0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("tag", [apev2_tag(20_000), apev2_tag(20_000, has_header=False), b"TAG" + bytes(125)])
def test_tags_behind_an_mp3_are_no_sound(tag: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp3"
    for data in (A, A_BARE, id3v2_tag(1_000) + A_BARE):
        path.write_bytes(data)
        bare, _ = decode(path, 60)
        path.write_bytes(data + tag)
        assert np.array_equal(check_all_decoders(path, len(bare)), bare)
    assert capfd.readouterr() == ("", "")


def test_an_mp3_cut_out_of_a_longer_one_is_whole() -> None:
    samples, _ = decode(io.BytesIO(VBR[5_000:-5_100]), 60)
    frames_lost = 9 - len(samples) / 44_100
    assert 0.1 < frames_lost < 2


def test_a_frame_behind_the_sound_that_only_completes_it_costs_no_second_decoding() -> None:
    for num_samples in range(48_000, 50_400, 400):
        data = encoded(sine(440, 48_000, 2)[:num_samples], 48_000, "MP3")
        mp3 = read_short_mp3(io.BytesIO(data))
        assert mp3 is not None
        if not mp3.is_read_to_end:
            break
    else:
        pytest.skip("this LAME writes no such frame")
    [block] = read_blocks(io.BytesIO(data))
    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert np.array_equal(block.samples, samples)


def test_truncated_and_damaged_mp3s_are_refused() -> None:
    hole = VBR[:10_000] + bytes(1) + b"\x55" * 10_000 + VBR[30_000:]
    for data, reason in [
        (A[: len(A) // 2], r"truncated: [\d,]+ of [\d,]+ frames could be decoded"),
        (hole, r"unreadable: damaged: [\d,]+ bytes among its mp3 frames are none"),
        (VBR + b"\x55" * 9_000, r"unreadable: damaged: the 9,000 bytes behind its mp3 frames are none"),
        (id3v2_tag(60_000), "unreadable: holds no sound, only tags"),
        (id3v2_tag(60_000)[:5_000], "unreadable: holds no sound, only tags"),
    ]:
        with pytest.raises(AudioError, match=f"^{reason}$"):
            decode(io.BytesIO(data), 60)


def ogg_files(codec: str) -> list[bytes]:
    """Three recordings; skips the test where nothing here can write them."""
    if codec == "libvorbis":
        return [encoded(sine(frequency_hz, 16_000, 2), 16_000, "OGG") for frequency_hz in (300, 500, 700)]
    if codec == "libopus":
        tones = (sine(frequency_hz, 48_000, 2) for frequency_hz in (300, 500, 700))
        return [encoded_by_ffmpeg(tone, 48_000, "ogg", "libopus") for tone in tones]
    if not shutil.which("ffmpeg"):
        pytest.skip("needs ffmpeg")
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine={}:d=2", "-c:a", codec, "-f", "ogg", "-"]
    commands = ([word.format(frequency_hz) for word in command] for frequency_hz in (300, 500, 700))
    return [subprocess.run(words, capture_output=True, check=True).stdout for words in commands]


@pytest.mark.parametrize("codec", ["libvorbis", "libopus", "flac", "libspeex"])
def test_chained_ogg_files_are_decoded_to_the_end(codec: str, tmp_path: Path) -> None:
    parts = ogg_files(codec)
    path = tmp_path / "a.ogg"
    path.write_bytes(b"".join(parts))
    each = [decode(io.BytesIO(part), 60)[0] for part in parts]
    samples = check_all_decoders(path, sum(map(len, each)))
    assert np.array_equal(samples, np.concatenate(each))
    assert len(find_parts(path)) == 3


def test_links_of_different_rates_are_refused() -> None:
    data = encoded(sine(300, 16_000), 16_000, "OGG") + encoded(sine(300, 44_100), 44_100, "OGG")
    with pytest.raises(AudioError, match=r"^unreadable: its sample rate changes from 16,000 to 44,100 Hz after 1.00 s"):
        decode(io.BytesIO(data), 60)


def test_flac_of_unknown_length_and_joined_flacs(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 80_000).astype(np.float32)
    data = encoded(noise, 16_000, "FLAC")
    unknown = data[:18] + (int.from_bytes(data[18:26]) >> 36 << 36).to_bytes(8) + data[26:]
    path = tmp_path / "a.flac"
    for content, expected in [(unknown, noise), (data + data, np.tile(noise, 2)), (unknown + data, np.tile(noise, 2))]:
        path.write_bytes(content)
        samples = check_all_decoders(path, len(expected))
        assert np.abs(samples - expected).max() < 1e-4
    with pytest.raises(AudioError, match=r"^truncated: [\d,]+ of 80,000 frames"):
        decode(io.BytesIO(data[:-50_000]), 60)


def test_a_name_that_says_mp3_is_not_believed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    m4a = encoded_by_ffmpeg(sine(300, 16_000, 2), 16_000, "mp4", "aac")
    path = tmp_path / "a.mp3"
    for data in (m4a, encoded(sine(300, 16_000, 2), 16_000, "WAV"), encoded(sine(300, 16_000, 2), 16_000, "OGG")):
        path.write_bytes(data)
        assert abs(len(decode(path, 60)[0]) - 32_000) < 2_000
    for data in (b"<html>404</html>" * 100, b"\xff\xfb" * 3_000, np.random.default_rng(0).bytes(50_000)):
        path.write_bytes(data)
        with pytest.raises(AudioError, match=r"^unreadable: [^\n]+$"):
            decode(path, 60)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("subtype", ["GSM610", "VOX_ADPCM"])
def test_segments_of_what_cannot_be_entered_in_its_middle(subtype: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.wav" if subtype == "GSM610" else "a.vox")
    format = "WAV" if subtype == "GSM610" else "RAW"
    soundfile.write(path, sine(300, 8_000, 3), 8_000, format=format, subtype=subtype)
    whole, rate_hz = decode(path, 60)
    for start, seconds in [(0.5, 1.0), (1.2345, 1.5)]:
        segment, _ = decode(path, 60, start, seconds)
        assert np.array_equal(segment, whole[round(start * rate_hz) : round((start + seconds) * rate_hz)])


TELEPHONY = {"ul": "ULAW", "mulaw": "ULAW", "au": "ULAW", "al": "ALAW", "gsm": "GSM610", "vox": "VOX_ADPCM"}


@pytest.mark.parametrize("extension", TELEPHONY)
def test_telephony_without_a_header(extension: str, tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(400, np.float32), sine(300, 8_000, 2)])  # silence in ULAW begins as an mp3 does
    path = tmp_path / f"a.{extension}"
    encoding = {"format": "RAW", "subtype": TELEPHONY[extension]}
    soundfile.write(path, sound, 8_000, **encoding)
    expected, _ = soundfile.read(path, samplerate=8_000, channels=1, dtype="float32", **encoding)
    for source in (path, NamedBytes(path.read_bytes(), path.name)):
        waveform, rate_hz = decode(source, 60)
        assert rate_hz == 8_000
        assert np.array_equal(waveform, expected)
        assert probe_seconds(source) == len(expected) / 8_000
        assert np.array_equal(decode(source, 60, 0.5, 1.0)[0], expected[4_000:12_000])


def test_an_instrument_without_a_rate_is_refused() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, sine(300, 16_000, 1), 16_000, format="XI", subtype="DPCM_16")
    with pytest.raises(AudioError, match=r"^unreadable: XI [^:]* holds no sample rate: convert it to wav$"):
        decode(io.BytesIO(buffer.getvalue()), 60)


def test_a_header_counts_for_more_than_a_name_without_one(tmp_path: Path) -> None:
    wav = encoded(sine(300, 16_000, 2), 16_000, "WAV")
    for name in ("a.vox", "a.raw", "a.ul", "a.sln"):
        (tmp_path / name).write_bytes(wav)
        for source in (tmp_path / name, NamedBytes(wav, name)):
            waveform, rate_hz = decode(source, 60)
            assert (len(waveform), rate_hz) == (32_000, 16_000)


@pytest.mark.parametrize("name", ["a.raw", "a.pcm", "a.sw", "a.ub"])
def test_samples_whose_rate_nothing_says_are_refused(name: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / name, sine(300, 8_000, 2), 8_000, format="RAW", subtype="PCM_16")
    for source in (tmp_path / name, NamedBytes((tmp_path / name).read_bytes(), name)):
        with pytest.raises(AudioError, match=r"^unreadable: samples without a header, .*: convert it to wav$"):
            decode(source, 60)


def test_what_macos_leaves_beside_a_recording_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(encoded_by_ffmpeg(sine(300, 16_000, 2), 16_000, "mp4", "aac"))
    os.mkfifo(tmp_path / "._a.m4a")  # who opens it waits for ever
    code = f"from asrscale.speech.decoding import decode; print(len(decode({str(path)!r}, 60)[0]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert abs(int(done.stdout) - 32_000) < 2_000


def test_damaged_headers_leave_nothing_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for data in (
        A,
        A_BARE,
        VBR,
        *(encoded(sine(300, 16_000), 16_000, kind) for kind in ("WAV", "AIFF", "CAF", "OGG", "W64", "AU")),
    ):
        for _ in range(30):
            content = bytearray(data)
            at = int(rng.integers(0, 128))
            content[at : at + 8] = rng.bytes(8)
            try:
                decode(io.BytesIO(bytes(content)), 60)
            except AudioError as error:
                assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


def test_a_count_of_frames_in_the_header_is_not_believed(tmp_path: Path) -> None:
    at = max(A.find(b"Xing"), A.find(b"Info")) + 8
    frames = int.from_bytes(A[at : at + 4])
    path = tmp_path / "a.mp3"
    path.write_bytes(A[:at] + (frames // 2).to_bytes(4) + A[at + 4 :])
    samples, _ = decode(path, 60)
    assert abs(len(samples) - 32_000) < 3_000
    path.write_bytes(A[:at] + (frames * 2).to_bytes(4) + A[at + 4 :])
    with pytest.raises(AudioError, match=r"^truncated: "):
        decode(path, 60)
    path.write_bytes(A)
    assert len(decode(path, 60)[0]) == len(decoded_by_ffmpeg(A)[0]) == 32_000
