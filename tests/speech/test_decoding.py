"""Bytes to samples: formats, damage, segments, long recordings."""

import io
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.audio import encoded, sine

from asrscale.common.errors import AudioError
from asrscale.speech import decoding, encoding, libsndfile, parts, pcm
from asrscale.speech.blocks import TRUNCATION_TOLERANCE_FRAMES

SHARED = Path(__file__).parents[3] / "shared/data"


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3", "OGG"])
@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_rate_and_channel_count(tmp_path: Path, format: str, rate_hz: int, channels: int) -> None:
    tone = sine(300, rate_hz)
    path = tmp_path / f"clip.{format.lower()}"
    path.write_bytes(encoded(np.stack([tone] * channels, axis=1), rate_hz, format))
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        waveform, rate = decoding.decode(source, max_seconds=2)
        assert (rate, waveform.dtype.name, waveform.ndim) == (rate_hz, "float32", 1)
        assert abs(len(waveform) - rate_hz) <= TRUNCATION_TOLERANCE_FRAMES
        assert np.abs(np.abs(waveform).max() - 0.5) < 0.05


def test_channels_are_averaged() -> None:
    left, right = sine(300, 16_000), sine(500, 16_000)
    waveform, _ = decoding.decode(io.BytesIO(encoded(np.stack([left, right], axis=1), 16_000, "WAV")), 2)
    assert np.allclose(waveform, (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize(
    ("format", "reason"),
    [("WAV", "truncated"), ("AIFF", "truncated"), ("MP3", "truncated"), ("FLAC", "truncated")],
)
def test_half_a_file_is_refused(format: str, reason: str) -> None:
    data = encoded(sine(300, 48_000, 2), 48_000, format)
    with pytest.raises(AudioError, match=f"^{reason}: [^\n]+$"):
        decoding.decode(io.BytesIO(data[: len(data) // 2]), 20)


def test_a_wav_streamed_to_a_pipe_is_no_truncated_one() -> None:
    data = bytearray(encoded(sine(300, 16_000), 16_000, "WAV"))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"  # the placeholder for both lengths
    waveform, _ = decoding.decode(io.BytesIO(bytes(data)), 2)
    assert len(waveform) == 16_000


def halved_header(data: bytes, name: bytes) -> bytes:
    """A wav that says it is half as long as it is."""
    at = data.index(name) + 4
    return data[:at] + (int.from_bytes(data[at : at + 4], "little") // 2).to_bytes(4, "little") + data[at + 4 :]


def test_a_recording_longer_than_its_header_says_is_refused_and_tags_at_its_end_are_not() -> None:
    mp3, wav = (encoded(sine(300, 48_000, 8), 48_000, format) for format in ("MP3", "WAV"))
    with pytest.raises(AudioError, match=r"^longer than its header says: it goes on for [\d,]+ bytes$"):
        decoding.decode(io.BytesIO(halved_header(wav, b"data")), 20)
    tag = b"LIST" + (20_000).to_bytes(4, "little") + b"INFO" + bytes(19_996)
    for data in (mp3, mp3 + b"TAG" + bytes(125), wav, wav + tag, wav + bytes(1_000)):
        assert len(decoding.decode(io.BytesIO(data), 20)[0]) == 8 * 48_000


def test_common_voice_mp3s_whose_header_is_a_little_off() -> None:
    clips = sorted((Path(__file__).parents[3] / "shared/data/common_voice_v1/clips").glob("*.mp3"))
    if not clips:
        pytest.skip("../shared/data is not here")
    for clip in clips:
        waveform, rate = decoding.decode(clip, 20)
        promised = soundfile.info(clip).frames
        assert rate == 48_000
        assert 0 < promised - len(waveform) <= TRUNCATION_TOLERANCE_FRAMES


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable"),
        (b"no audio at all", "unreadable"),
        (b"ID3" + bytes(2_000), "unreadable"),
        (encoded(np.zeros(0, np.float32), 16_000, "WAV"), "empty"),
        (encoded(np.zeros(16_000, np.float32), 500, "WAV"), "unreadable"),
    ],
)
def test_what_is_no_recording_is_refused_in_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(AudioError, match=f"^{reason}: [^\n]+$"):
        decoding.decode(io.BytesIO(data), 20)


@pytest.mark.parametrize("name", ["absent.wav", ".", "headerless.raw"])
def test_paths_that_hold_no_recording(tmp_path: Path, name: str) -> None:
    (tmp_path / "headerless.raw").write_bytes(bytes(100))
    with pytest.raises(AudioError, match=r"^unreadable: "):
        decoding.decode(tmp_path / name, 20)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3", "OGG"])
def test_too_long_is_refused_and_the_limit_itself_is_not(format: str) -> None:
    data = encoded(sine(300, 16_000, 2), 16_000, format)
    assert len(decoding.decode(io.BytesIO(data), 2.2)[0]) >= 32_000 - TRUNCATION_TOLERANCE_FRAMES
    with pytest.raises(AudioError, match=r"^too long: more than 1\.5 s"):
        decoding.decode(io.BytesIO(data), 1.5)
    if format in ("WAV", "FLAC"):
        assert len(decoding.decode(io.BytesIO(data), 2.0)[0]) == 32_000


@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
@pytest.mark.parametrize("format", ["MP3", "FLAC", "OGG"])
def test_payloads_of_other_formats_and_rates_are_what_a_build_would_make_of_them(rate_hz: int, format: str) -> None:
    data = encoded(np.stack([sine(300, rate_hz)] * 2, axis=1), rate_hz, format)
    built = pcm.to_pcm16(pcm.resample(*decoding.decode(io.BytesIO(data), 2)))
    assert np.array_equal(decoding.decode_payload(data), built)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable"),
        (encoding.encode(pcm.to_pcm16(sine(300, 16_000)), "flac")[:5_000], "unreadable|truncated"),
        (encoding.encode(pcm.to_pcm16(sine(300, 16_000)), "wav")[:40], "unreadable"),
        (encoded(sine(300, 48_000), 48_000, "MP3")[:2_000], "truncated"),
        (encoding.encode(np.zeros(0, np.int16), "flac"), "unreadable|truncated"),
    ],
)
def test_damaged_payloads_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(AudioError, match=f"^({reason}): "):
        decoding.decode_payload(data)


@contextmanager
def memory_below(mib: int) -> Iterator[None]:
    """Fails where what runs within holds more memory at a time, counted by Python and numpy."""
    tracemalloc.start()
    try:
        yield
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < mib * 2**20


def flac_of_length(num_samples: int) -> bytes:
    """A FLAC of a second whose header says another length (RFC 9639, section 8.2: 36 bits)."""
    data = bytearray(encoding.encode(pcm.to_pcm16(sine(300, 16_000)), "flac"))
    above = data[21] & 0xF0
    data[21:26] = (above << 32 | num_samples).to_bytes(5)
    return bytes(data)


@pytest.mark.parametrize(
    ("num_samples", "reason"), [(2**36 - 1, "unreadable|truncated"), (16_000 * 80_000, "unreadable|truncated")]
)
def test_a_header_that_promises_years_costs_no_memory(num_samples: int, reason: str) -> None:
    with memory_below(64), pytest.raises(AudioError, match=f"^({reason}): "):
        decoding.decode_payload(flac_of_length(num_samples), promised_samples=16_000)


@pytest.mark.parametrize("format", ["FLAC", "OGG"])
def test_no_more_is_decoded_than_was_promised(format: str) -> None:
    """An hour of silence is small; two seconds are promised."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 16_000, 1, format=format) as file:
        for _ in range(600 if format == "FLAC" else 20):  # at once, its encoder of Vorbis crashes
            file.write(np.zeros(6 * 16_000, np.float32))
    data = buffer.getvalue()
    with memory_below(32), pytest.raises(AudioError, match=r"^too long: more than 4 s$"):
        decoding.decode_payload(data, promised_samples=32_000)
    assert len(decoding.decode_payload(encoded(sine(300, 16_000, 2), 16_000, format), 16_001)) >= 31_000


def test_a_thousand_channels_are_decoded_a_little_at_a_time(tmp_path: Path) -> None:
    """A sparse file: its header, and nothing on the disk."""
    path = tmp_path / "many.wav"
    with soundfile.SoundFile(path, "w", 16_000, 1_024, "PCM_16") as file:
        file.write(np.zeros((1, 1_024), np.int16))
    frames = 60 * 16_000
    size = frames * 2_048
    header = bytearray(path.read_bytes()[:-2_048])
    header[4:8] = (size + len(header) - 8).to_bytes(4, "little")
    header[-4:] = size.to_bytes(4, "little")
    path.write_bytes(header)
    with path.open("r+b") as file:
        file.truncate(len(header) + size)
    with memory_below(160), pytest.raises(AudioError, match=r"^too long: more than 1 s"):
        decoding.decode(path, 1.0)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3", "OGG"])
def test_a_segment_is_what_the_whole_has_there(format: str) -> None:
    rng = np.random.default_rng(0)
    data = encoded((0.1 * rng.standard_normal(3 * 44_100)).astype(np.float32), 44_100, format)
    whole, rate = decoding.decode(io.BytesIO(data), 20)
    for start, seconds in [(0.0, 0.5), (0.7313, 1.1), (1.5, 0.01)]:
        segment, _ = decoding.decode(io.BytesIO(data), 2, start, seconds)
        first, end = round(start * rate), round((start + seconds) * rate)
        assert np.array_equal(segment, whole[first:end])
    before, _ = decoding.decode(io.BytesIO(data), 20, 0.0, 1.2345)
    after, _ = decoding.decode(io.BytesIO(data), 20, 1.2345, 1.0)
    assert np.array_equal(np.concatenate([before, after]), whole[: len(before) + len(after)])


def test_a_segment_in_a_real_mp3_is_exact() -> None:
    """Seeking in it misses samples by 0.3 of full scale: its frames borrow bits from those before."""
    path = SHARED / "orders/cv-valid-dev/sample-000002.mp3"
    if not path.exists():
        pytest.skip("../shared/data is not here")
    whole, rate = decoding.decode(path, 20)
    for start in (0.9, 2.8, 4.3):
        assert np.array_equal(decoding.decode(path, 20, start, 0.5)[0], whole[round(start * rate) :][: rate // 2])


def test_a_segment_beyond_its_recording_is_refused_and_one_of_a_long_one_is_not() -> None:
    data = encoded(sine(300, 16_000, 3), 16_000, "WAV")
    assert len(decoding.decode(io.BytesIO(data), 1, 1.0, 0.5)[0]) == 8_000
    assert len(decoding.decode(io.BytesIO(data), 1, 2.5, 0.501)[0]) == 8_000  # a manifest rounds
    for start, seconds in [(2.5, 0.9), (3.5, 0.5), (1e9, 1.0), (3.5, None)]:
        place = f"from {start:g} s" if seconds is None else f"{start:g} to {start + seconds:g} s"
        with pytest.raises(AudioError, match=re.escape(f"segment: {place}, but the recording is 3.00 s")):
            decoding.decode(io.BytesIO(data), 1, start, seconds)
    with pytest.raises(AudioError, match=r"^too long: "):
        decoding.decode(io.BytesIO(data), 1, 0.0, 2.0)


def test_the_probed_length_is_the_decoded_one() -> None:
    for format in ("WAV", "FLAC", "MP3", "OGG"):
        data = encoded(sine(300, 44_100, 2), 44_100, format)
        waveform, rate = decoding.decode(io.BytesIO(data), 20)
        assert parts.probe_seconds(io.BytesIO(data)) == pytest.approx(len(waveform) / rate, abs=0.06)
    with pytest.raises(AudioError, match=r"^unreadable: "):
        parts.probe_seconds(io.BytesIO(b"no audio"))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_a_long_recording_is_the_same_in_blocks(rate_hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, (3 * rate_hz, 2)), rate_hz, "FLAC")
    whole = pcm.to_pcm16(pcm.resample(*decoding.decode(io.BytesIO(data), 20)))
    monkeypatch.setattr(libsndfile, "BLOCK_FRAMES", 1_000)
    assert np.array_equal(decoding.decode_long(io.BytesIO(data)), whole) and len(whole) == 48_000


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "non-finite"), (None, "empty")])
def test_a_long_recording_is_checked(value: float | None, reason: str) -> None:
    buffer = io.BytesIO()
    waveform = np.full(0 if value is None else 9_000, value, np.float32)
    soundfile.write(buffer, waveform, 44_100, format="WAV", subtype="FLOAT")
    with pytest.raises(AudioError, match=f"^{reason}: "):
        decoding.decode_long(io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_a_stretch_is_what_a_segment_is(tmp_path: Path, format: str, rate_hz: int) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (5 * rate_hz, 2)).astype(np.float32)
    path = tmp_path / f"clip.{format.lower()}"
    path.write_bytes(encoded(sound, rate_hz, format))
    assert parts.is_entered_quickly(path)
    for start_seconds in (0.0, 1.234, 3.5):
        stretch, rate = decoding.decode_stretch(path, start_seconds, 1.5)
        segment, _ = decoding.decode(path, 5, start_seconds, 1.5)
        assert rate == rate_hz and np.array_equal(stretch, segment)
    with pytest.raises(AudioError, match=r"^segment: 4 to 6 s, but the recording is 5.00 s long"):
        decoding.decode_stretch(path, 4.0, 2.0)
    (tmp_path / "clip.mp3").write_bytes(encoded(sound, rate_hz, "MP3"))
    assert not parts.is_entered_quickly(tmp_path / "clip.mp3")
