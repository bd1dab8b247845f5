"""What is stored of a row."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers.audio import encoded_by_ffmpeg, sine
from helpers.sharding import COMMAND, ROOT, payload_of, rejected, shard, write_clip, write_csv
from helpers.sources import rows_of, write_tar

from asrscale.common.errors import AudioError
from asrscale.corpus.checks import Rules
from asrscale.corpus.payload import Payload
from asrscale.data.index import Index, read_index
from asrscale.sources.rows import Row
from asrscale.speech import decoding
from asrscale.speech.pcm import Pcm


@pytest.mark.parametrize("flags", [("--codec", "wav"), ("--codec", "opus"), ("--original",)])
def test_every_codec_stores_the_same_utterances(corpus: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    shard("--csv", corpus, "--out", tmp_path / "flac", "--valid_fraction", 0)
    shard("--csv", corpus, "--out", tmp_path / "out", "--valid_fraction", 0, *flags)
    flac = read_index([str(tmp_path / "flac/train")])
    other = read_index([str(tmp_path / "out/train")])
    assert flac.keys.equals(other.keys)
    assert np.array_equal(flac.num_samples, other.num_samples)
    is_lossless = flags != ("--codec", "opus")
    for one, another in zip(read_recordings(flac), read_recordings(other), strict=True):
        assert len(one) == len(another)
        if is_lossless:
            assert np.array_equal(one, another)
    shard("verify", "--data", tmp_path / "out/train")


def read_recordings(index: Index) -> list[Pcm]:
    """The recordings of an index of one shard."""
    [path] = index.shards
    content = Path(path).read_bytes()
    spans = zip(index.offsets, index.sizes, strict=True)
    return [decoding.decode_payload(content[start : start + size]) for start, size in spans]


def write_bomb(path: Path) -> None:
    """A small file of 3.3 hours of silence, which would take 2.3 GB as floats."""
    minute = np.zeros(48_000 * 60, np.int16)
    if path.suffix == ".mp3":  # players and decoders go on over what was appended
        soundfile.write(path, minute, 48_000)
        path.write_bytes(path.read_bytes() * 200)
    else:
        with soundfile.SoundFile(path, "w", 48_000, 1) as file:
            for _ in range(200):
                file.write(minute)
    assert path.stat().st_size < 200_000_000


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_a_file_that_decodes_to_hours_is_rejected_before_it_fills_the_memory(tmp_path: Path, kind: str) -> None:
    write_bomb(tmp_path / f"bomb.{kind}")
    write_clip(tmp_path / "a.wav")
    table = write_csv(tmp_path / "a.csv", [(f"bomb.{kind}", "boom"), ("a.wav", "fine")])
    flags = ["--csv", table, "--out", tmp_path / "out", "--valid_fraction", 0, "--max_rejected", "50%", "--workers", 1]
    limited_to_1_5_gb = ["bash", "-c", 'ulimit -v 1500000; exec "$@"', "bash"]
    command = [*limited_to_1_5_gb, *COMMAND, *map(str, flags)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [row["reason"] for row in rejected(tmp_path / "out")] == ["too long"]


def make_row(audio: str, **values: Any) -> Row:
    return Row(line=2, source="a.csv", audio=audio, text="Good dog!", extra={}, **values)


@pytest.mark.parametrize(
    ("name", "extension"),
    [("a.WAV", "wav"), ("a.txt", "audio"), ("a.json", "audio"), ("a", "audio"), ("a.toolong", "audio")],
)
def test_original_bytes_keep_the_extension_unless_a_tar_needs_it_otherwise(
    tmp_path: Path, name: str, extension: str
) -> None:
    write_clip(tmp_path / "clip.wav", seconds=1.5)
    (tmp_path / "clip.wav").rename(tmp_path / name)
    payload = payload_of(make_row(name), str(tmp_path), Rules(0.1, 20.0), "original")
    assert payload == Payload(
        extension=extension, audio=(tmp_path / name).read_bytes(), num_samples=24_000, text="good dog"
    )


def test_a_segment_is_cut_out_unless_bytes_are_kept(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", seconds=1.5)
    row = make_row("a.wav", start_seconds=0.0, seconds=1.0)
    rules = Rules(0.1, 20.0)
    assert payload_of(row, str(tmp_path), rules, "flac").num_samples == 16_000
    with pytest.raises(AudioError, match=r"^segment: .* can only be stored whole: build it with --codec flac$"):
        payload_of(row, str(tmp_path), rules, "original")
    rounded = make_row("a.wav", start_seconds=0.0, seconds=1.45)  # a manifest's durations are rounded
    assert payload_of(rounded, str(tmp_path), rules, "original").num_samples == 24_000


def test_recordings_without_a_header_are_known_by_their_names_in_a_tar_too(tmp_path: Path) -> None:
    rules = Rules(0.1, 20.0)
    recordings = {"a.VOX": "VOX_ADPCM", "b.gsm": "GSM610", "c.ul": "ULAW", "d.alaw": "ALAW", "e.snd": "ULAW"}
    for name, subtype in recordings.items():
        soundfile.write(tmp_path / name, sine(300, 8_000, 2), 8_000, format="RAW", subtype=subtype)
    (tmp_path / "f.g722").write_bytes(encoded_by_ffmpeg(sine(300, 16_000, 2), 16_000, "g722", "g722"))
    names = [*recordings, "f.g722"]
    texts = {f"{Path(name).stem}.txt": b"good dog" for name in names}
    tar = write_tar(tmp_path / "a.tar", {name: (tmp_path / name).read_bytes() for name in names} | texts)
    for row in rows_of(tar):
        from_folder = payload_of(make_row(row.audio), str(tmp_path), rules, "flac")
        assert payload_of(row, "", rules, "flac") == from_folder
        assert abs(from_folder.num_samples - 32_000) <= 320
    for codec in ("original", "in_place"):
        with pytest.raises(AudioError, match=r"^no header: only the name says that it is \.vox, and .* --codec flac$"):
            payload_of(rows_of(tar)[0], "", rules, codec)


@pytest.mark.parametrize(
    ("start_seconds", "seconds", "num_samples"),
    [
        (None, 1.0, 16_000),  # as NeMo cuts
        (None, 1.45, 24_000),  # rounded
        (None, 3.0, 24_000),  # too long is no fault
        (None, 0.0, 24_000),  # not known
        (0.5, 0.0, 16_000),
        (0.0, 1.45, 23_200),
        (0.0, 3.0, 24_000),
        (0.0, None, 24_000),
        (0.5, None, 16_000),
        (0.5, 0.25, 4_000),
    ],
)
@pytest.mark.parametrize("is_in_tar", [False, True])
def test_a_duration_cuts_off_the_rest_of_a_recording(
    tmp_path: Path, start_seconds: float | None, seconds: float | None, num_samples: int, is_in_tar: bool
) -> None:
    write_clip(tmp_path / "a.wav", seconds=1.5)
    row = make_row("a.wav", start_seconds=start_seconds, seconds=seconds)
    if is_in_tar:
        content = (tmp_path / "a.wav").read_bytes()
        row = replace(
            row, tar=str(write_tar(tmp_path / "a.tar", {"a.wav": content})), tar_offset=512, tar_size=len(content)
        )
    assert payload_of(row, str(tmp_path), Rules(0.1, 20.0), "flac").num_samples == num_samples


def test_the_start_of_an_hour_is_not_too_long(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", seconds=30, rate_hz=8_000)
    row = make_row("a.wav", seconds=2.0)
    assert payload_of(row, str(tmp_path), Rules(0.1, 20.0), "flac").num_samples == 32_000
