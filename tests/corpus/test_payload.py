"""What is stored of a row."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.sharding import COMMAND, ROOT, rejected, shard, write_clip, write_csv

from asrscale.data.index import read_index
from asrscale.speech import decoding


@pytest.mark.parametrize("flags", [("--codec", "wav"), ("--codec", "opus"), ("--original",)])
def test_codecs(corpus: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    shard("--csv", corpus, "--out", tmp_path / "flac", "--valid_fraction", 0)
    shard("--csv", corpus, "--out", tmp_path / "out", "--valid_fraction", 0, *flags)
    flac, other = read_index([str(tmp_path / "flac/train")]), read_index([str(tmp_path / "out/train")])
    assert flac.keys.equals(other.keys) and np.array_equal(flac.num_samples, other.num_samples)
    waveforms = []
    for index in (flac, other):
        shard_bytes = Path(index.shards[0]).read_bytes()
        spans = zip(index.offsets, index.sizes, strict=True)
        waveforms.append([decoding.decode_payload(shard_bytes[start : start + size]) for start, size in spans])
    for one, another in zip(*waveforms, strict=True):
        assert len(one) == len(another)
        assert flags == ("--codec", "opus") or np.array_equal(one, another)
    shard("verify", "--data", tmp_path / "out/train")


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_a_file_that_decodes_to_hours_is_rejected_before_it_fills_the_memory(tmp_path: Path, kind: str) -> None:
    soundfile.write(tmp_path / f"bomb.{kind}", np.zeros(48_000 * 60, np.float32), 48_000)
    if kind == "mp3":  # players and decoders go on over what was appended
        minute = (tmp_path / "bomb.mp3").read_bytes()
        (tmp_path / "bomb.mp3").write_bytes(minute * 200)
    else:
        with soundfile.SoundFile(tmp_path / "bomb.flac", "w", 48_000, 1) as file:
            for _ in range(200):  # 3.3 hours: 2.3 GB as floats
                file.write(np.zeros(48_000 * 60, np.int16))
    assert (tmp_path / f"bomb.{kind}").stat().st_size < 200_000_000
    table = write_csv(tmp_path / "a.csv", [(f"bomb.{kind}", "boom"), ("a.wav", "fine")])
    write_clip(tmp_path / "a.wav")
    limited = ["bash", "-c", 'ulimit -v 1500000; exec "$@"', "bash", *COMMAND]  # kB
    flags = ["--csv", table, "--out", tmp_path / "out", "--valid_fraction", 0, "--max_rejected", "50%", "--workers", 1]
    done = subprocess.run([*limited, *map(str, flags)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [row["reason"] for row in rejected(tmp_path / "out")] == ["too long"]
