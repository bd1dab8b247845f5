"""What libsndfile does not read: by ffmpeg's libraries, bounded and strict."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.audio import decoded_by_ffmpeg, encoded, encoded_by_ffmpeg, sine

from asrscale.common.errors import AudioError
from asrscale.speech.decoding import decode, decode_long, decode_payload
from asrscale.speech.ffmpeg import ffmpeg_seconds

ENCODINGS = [  # container, codec, rate
    ("mp4", "aac", 16_000),
    ("mp4", "alac", 44_100),
    ("mov", "pcm_s16le", 44_100),
    ("matroska", "aac", 48_000),
    ("webm", "libopus", 48_000),
    ("adts", "aac", 16_000),
    ("wv", "wavpack", 16_000),
    ("tta", "tta", 16_000),
    ("ac3", "ac3", 48_000),
    ("amr", "libopencore_amrnb", 8_000),
]


@pytest.mark.parametrize(("container", "codec", "rate_hz"), ENCODINGS)
def test_all_that_was_encoded(container: str, codec: str, rate_hz: int) -> None:
    tone = sine(300, rate_hz, 2)
    data = encoded_by_ffmpeg(tone, rate_hz, container, codec)
    samples, found_rate_hz = decode(io.BytesIO(data), 20)
    expected, _ = decoded_by_ffmpeg(data)
    assert found_rate_hz == rate_hz and np.array_equal(samples, expected.mean(axis=1))
    assert 0 <= len(samples) - len(tone) <= 2 * 2_048  # of frames of AAC, which some containers cannot cut off

    assert len(decode_long(io.BytesIO(data))) == len(decode_payload(data))
    start, seconds = 0.75, 0.5
    segment, _ = decode(io.BytesIO(data), 20, start, seconds)
    assert np.array_equal(segment, samples[round(start * rate_hz) : round((start + seconds) * rate_hz)])
    assert abs(ffmpeg_seconds(io.BytesIO(data)) - len(samples) / rate_hz) < 0.1


def test_opus_in_webm_of_another_rate_begins_where_it_was_encoded() -> None:
    data = encoded_by_ffmpeg(sine(300, 16_000, 2), 16_000, "webm", "libopus")
    ogg = encoded_by_ffmpeg(sine(300, 16_000, 2), 16_000, "ogg", "libopus")
    assert len(decode(io.BytesIO(data), 20)[0]) == len(decoded_by_ffmpeg(ogg)[0]) == 96_000


def test_a_raw_format_is_told_by_its_name(tmp_path: Path) -> None:
    data = encoded_by_ffmpeg(sine(300, 16_000, 2), 16_000, "g722", "g722")
    path = tmp_path / "a.g722"
    path.write_bytes(data)
    assert len(decode(path, 20)[0]) == 32_000
    with pytest.raises(AudioError, match=r"^unreadable: "):
        decode(io.BytesIO(data), 20)


def test_amr_with_frames_of_silence() -> None:
    """As phones write it that transmit nothing while nobody speaks (discontinuous transmission)."""
    codec, rate_hz = "libopencore_amrnb", 8_000
    pauses = np.concatenate([sine(300, rate_hz, 1), np.zeros(3 * rate_hz, np.float32), sine(500, rate_hz, 1)])
    data = encoded_by_ffmpeg(pauses, rate_hz, "amr", codec, {"dtx": "1"})
    without = encoded_by_ffmpeg(pauses, rate_hz, "amr", codec)
    assert len(data) < 0.7 * len(without)
    assert np.array_equal(decode(io.BytesIO(without), 20)[0], decoded_by_ffmpeg(without)[0][:, 0])
    with av.open(io.BytesIO(data)) as container, pytest.raises(av.FFmpegError):  # what ffmpeg's own decoder does
        list(container.decode(audio=0))
    waveform, found_rate_hz = decode(io.BytesIO(data), 20)
    assert found_rate_hz == rate_hz
    assert abs(len(waveform) - len(pauses)) <= 2 * rate_hz // 50
    assert np.abs(waveform[2 * rate_hz : 3 * rate_hz]).max() < 0.02 < np.abs(waveform[-rate_hz // 2 :]).max()


def test_damaged_amr_is_refused_and_a_short_one_is_not() -> None:
    """One of a few frames has no place to return to once its frames were looked at."""
    data = bytearray(encoded_by_ffmpeg(sine(300, 8_000, 0.3), 8_000, "amr", "libopencore_amrnb"))
    assert abs(len(decode(io.BytesIO(bytes(data)), 20)[0]) - 2_400) <= 320
    frame_bytes = (len(data) - 6) // 15
    for frame in range(4, 9):
        data[6 + frame * frame_bytes] = 12 << 3  # of no recording
    with pytest.raises(AudioError, match=r"^unreadable: damaged 0\.\d+ s after its beginning"):
        decode(io.BytesIO(bytes(data)), 20)


def test_channels_are_averaged() -> None:
    both = np.stack([sine(300, 44_100), sine(500, 44_100)], axis=1)
    data = encoded_by_ffmpeg(both, 44_100, "mp4", "alac")
    assert np.abs(decode(io.BytesIO(data), 20)[0] - both.mean(axis=1)).max() < 1e-3
    assert np.abs(decode(io.BytesIO(data), 20, channel=1)[0] - both[:, 1]).max() < 1e-3


def test_what_a_file_names_is_not_opened(tmp_path: Path) -> None:
    sound = tmp_path / "a.aac"
    sound.write_bytes(encoded_by_ffmpeg(sine(300, 16_000, 2), 16_000, "adts", "aac"))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{sound}\n#EXT-X-ENDLIST\n"
    for name, content in [("a.m3u8", playlist), ("a.ffconcat", f"ffconcat version 1.0\nfile {sound.name}\n")]:
        path = tmp_path / name
        path.write_text(content)
        with av.open(str(path)) as followed:
            assert next(followed.decode(audio=0)).samples
        with pytest.raises(AudioError, match=r"^unreadable: ffmpeg says: "):
            decode(path, 20)


def test_a_video_is_not_decoded_and_one_without_sound_is_refused() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(AudioError, match=r"^unreadable: ffmpeg finds no sound in it that it can decode \(Matroska"):
        decode(io.BytesIO(buffer.getvalue()), 20)


def test_half_a_file_is_refused_where_its_header_tells() -> None:
    for container, codec in [("tta", "tta"), ("wv", "wavpack")]:
        data = encoded_by_ffmpeg(np.random.default_rng(0).uniform(-0.5, 0.5, 80_000), 16_000, container, codec)
        with pytest.raises(AudioError, match=r"^(truncated|unreadable): "):
            decode(io.BytesIO(data[: len(data) // 2]), 20)


def test_damage_in_the_middle_is_refused() -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 160_000)
    for container, codec in [("wv", "wavpack"), ("tta", "tta")]:
        data = bytearray(encoded_by_ffmpeg(noise, 16_000, container, codec))
        data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
        with pytest.raises(AudioError, match=r"^(unreadable: damaged|truncated)"):
            decode(io.BytesIO(bytes(data)), 20)


def test_too_long_ends_the_decoding() -> None:
    data = encoded_by_ffmpeg(np.zeros(60 * 16_000, np.float32), 16_000, "mp4", "aac")
    with pytest.raises(AudioError, match=r"^too long: more than 2 s$"):
        decode(io.BytesIO(data), 2)


def test_opposite_phases_are_said_and_one_channel_is_not_a_mean() -> None:
    tone = sine(300, 16_000, 2)
    for quiet in (0.0, 0.001):
        data = encoded(np.stack([tone, -tone * (1 - quiet)], axis=1), 16_000, "WAV")
        for work in (lambda data=data: decode(io.BytesIO(data), 20), lambda data=data: decode_long(io.BytesIO(data))):
            with pytest.raises(AudioError, match=r"^opposite phases: its channels cancel each other out: "):
                work()
        assert np.abs(decode(io.BytesIO(data), 20, channel=0)[0] - tone).max() < 1e-3
    noise = np.random.default_rng(0).normal(0, 0.1, (16_000, 8)).astype(np.float32)
    assert len(decode(io.BytesIO(encoded(noise, 16_000, "WAV")), 20)[0]) == 16_000
    with pytest.raises(AudioError, match=r"^channel: the row asks for number 8 of its 8, counted from 0$"):
        decode(io.BytesIO(encoded(noise, 16_000, "WAV")), 20, channel=8)
    silence = encoded(np.zeros((16_000, 2), np.float32), 16_000, "WAV")
    assert not decode(io.BytesIO(silence), 20)[0].any()


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")
@pytest.mark.parametrize("name", ["a.m4a", "a.webm", "a.mkv", "a.ac3", "a.wma", "a.oga", "a.spx", "a.mp4", "a.wv"])
def test_the_program_ffmpeg_decodes_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    codecs = {"a.oga": "flac", "a.spx": "libspeex", "a.wma": "wmav2", "a.webm": "libopus"}
    codec = ["-c:a", codecs[name]] if name in codecs else []
    source = ["-f", "lavfi", "-i", "sine=300:d=2:r=16000"]
    rate = ["-ar", "48000"] if name in ("a.ac3", "a.webm") else ["-ar", "16000"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *rate, *codec, str(path)], check=True)
    decoded = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-"], capture_output=True, check=True)
    expected = np.frombuffer(decoded.stdout, np.float32)
    samples, _ = decode(path, 20)
    assert len(samples) == len(expected) and np.abs(samples - expected).max() < 1e-5


_PEAK = """
import re, sys
from asrscale.speech.decoding import decode
from asrscale.common.errors import AudioError
try:
    decode(sys.argv[1], 60.0)
except AudioError as error:
    print(error)
print(int(re.search("VmHWM: *(.*) kB", open("/proc/self/status").read())[1]) // 1024)
"""


def test_a_title_that_is_said_to_have_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    """ffmpeg allocates what a tag of a wav's LIST chunk is said to have, and fills it with zeros."""
    tag = b"INAM" + (1_900_000_000).to_bytes(4, "little") + b"a title"
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + bytes(4) + b"WAVELIST" + (0xFFFFFFF0).to_bytes(4, "little") + b"INFO" + tag)
    done = subprocess.run([sys.executable, "-c", _PEAK, path], capture_output=True, text=True, check=True)
    reason, peak_mebibytes = done.stdout.splitlines()
    assert reason.startswith("unreadable: ") and int(peak_mebibytes) < 300
