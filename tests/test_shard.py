"""Shard building through its real command line."""

import json
import math
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.sharding import (
    ROOT,
    checksums,
    long_corpus,
    read_member,
    refusal,
    rejected,
    shard,
    start,
    start_build,
    times,
    write_clip,
    write_csv,
)
from helpers.sources import SHARED, needs_shared_data

from asrscale.data.index import Index, read_index
from asrscale.speech import decoding, pcm


def test_a_build_from_end_to_end(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = shard("--csv", corpus, "--out", out, "--shard_utterances", 5)
    train = read_index([str(out / "train")])
    assert f"{len(train)} utterances" in done.stdout
    assert "are in train too" not in done.stdout
    assert "23/23 clips" in done.stderr
    assert len(train.shards) == math.ceil(len(train) / 5)
    assert rejected(out) == []

    index = read_index([str(out / "train"), str(out / "valid")])
    assert len(index) == 23
    lines = corpus.read_text().splitlines()
    for i in range(len(index)):
        line = int(index.keys[i].as_py().rpartition("-")[2])
        name, sentence, votes, speaker = lines[line - 1].split(",")
        text, columns = read_texts(index, i)
        assert text == index.texts[i].as_py() == sentence.lower().removesuffix("!")
        assert (columns["source"], columns["audio"], columns["up_votes"]) == (str(corpus), name, votes)
        assert columns["speaker"] == index.speakers[i].as_py() == (speaker or None)

        waveform, rate_hz = decoding.decode(corpus.parent / name, 20)
        expected = pcm.to_pcm16(pcm.resample(waveform, rate_hz))
        assert np.array_equal(read_recording(index, i), expected)


def read_texts(index: Index, i: int) -> tuple[str, dict[str, Any]]:
    """The transcript of utterance i, and the columns of its row."""
    key = index.keys[i].as_py()
    with tarfile.open(index.shards[index.shard_ids[i]]) as tar:
        text = read_member(tar, f"{key}.txt").decode()
        columns = json.loads(read_member(tar, f"{key}.json"))
    return text, columns


def read_recording(index: Index, i: int) -> pcm.Pcm:
    """The samples of utterance i, which has to be the same for whoever reads the tar and for the index."""
    path = index.shards[index.shard_ids[i]]
    start = int(index.offsets[i])
    payload = Path(path).read_bytes()[start : start + int(index.sizes[i])]
    assert zlib.crc32(payload) == index.crc32[i]
    with tarfile.open(path) as tar:
        assert read_member(tar, f"{index.keys[i]}.flac") == payload
    samples = decoding.decode_payload(payload)
    assert len(samples) == index.num_samples[i]
    return samples


def test_a_killed_build_goes_on_shard_by_shard_to_the_same_bytes(tmp_path: Path) -> None:
    table = long_corpus(tmp_path, 40)
    flags = ("--csv", table, "--valid_fraction", 0, "--workers", 1, "--shard_utterances", 4)
    shard(*flags, "--out", tmp_path / "undisturbed")

    out = tmp_path / "out"
    folder = out / "train"
    process = start_build(*flags, "--out", out, until=lambda: len(list(folder.glob("*.part"))) >= 4)
    process.kill()
    process.communicate(timeout=120)
    finished = sorted(path.with_suffix("") for path in folder.glob("*.part"))
    assert 4 <= len(finished) < 10
    assert not (folder / "dataset.json").exists()

    damaged, torn, lost, *kept = finished
    damaged.write_bytes(damaged.read_bytes().replace(b"sentence", b"sEntence"))
    Path(f"{torn}.part").write_text('{"made_of": "')
    lost.unlink()
    (folder / "train-000099.tar").write_bytes(b"of an interrupted build with smaller shards")

    before = times(kept)
    shard(*flags, "--out", out)
    assert times(kept) == before
    assert checksums(out) == checksums(tmp_path / "undisturbed")


def test_what_an_interrupted_build_with_other_options_left_is_not_used(tmp_path: Path) -> None:
    table = long_corpus(tmp_path, 40)
    flags = ("--csv", table, "--valid_fraction", 0, "--workers", 1, "--shard_utterances", 4)
    folder = tmp_path / "out/train"
    process = start_build(*flags, "--out", tmp_path / "out", until=lambda: bool(list(folder.glob("*.part"))))
    process.kill()
    process.communicate(timeout=120)
    assert not (folder / "dataset.json").exists()
    for out in ("out", "undisturbed"):
        shard(*flags, "--out", tmp_path / out, "--seed", 7)
    assert checksums(tmp_path / "out") == checksums(tmp_path / "undisturbed")


def test_bad_input_through_the_real_command_line(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav")
    good = write_csv(tmp_path / "good.csv", [("a.wav", "one"), ("a.wav", "two")])
    empty = tmp_path / "empty.csv"
    empty.touch()
    absent = tmp_path / "absent"
    for flags, words in (
        (("--csv", absent), f"{absent}: No such file"),
        (("--csv", empty), f"{empty}: is empty"),
        (("--csv", good, "--shards", 3), "unknown flag --shards"),
        (("--csv", good, "--audio_root", absent), f"no file {absent / 'a.wav'} (2 of 2 "),
        (("--csv", good, "--audio_root", "/usr"), "set --audio_root to the folder that 'a.wav' is in"),
    ):
        line = refusal(*flags, "--out", tmp_path / "out", "--valid_fraction", 0)
        assert line.startswith("error: ")
        assert words in line
    assert not (tmp_path / "out").exists()


def test_it_starts_without_torch() -> None:
    code = "import sys, asrscale.shard; sys.exit('torch' in sys.modules or 'webdataset' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120)
    assert done.returncode == 0


@needs_shared_data
def test_real_recordings(tmp_path: Path) -> None:
    done = shard("--csv", f"dev={SHARED}/orders/cv-valid-dev.csv", "--out", tmp_path / "out")
    index = read_index([str(tmp_path / "out/dev")])
    assert len(index) == 50
    assert "rejected: 0 of 50 rows" in done.stdout
    assert "sharding: 50/50 clips" in done.stderr
    assert len(done.stderr.splitlines()) == 1  # nothing of mpg123's own messages


def test_an_unknown_verb(tmp_path: Path) -> None:
    assert "no verb 'biuld': choose one of build, verify" in refusal("biuld", "--out", tmp_path)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_to_the_same_bytes(tmp_path: Path, kills: int) -> None:
    table = long_corpus(tmp_path, 60)
    flags = ("--csv", table, "--valid_fraction", 0.3, "--workers", 2, "--shard_utterances", 5)
    began_seconds = time.monotonic()
    shard(*flags, "--out", tmp_path / "undisturbed")
    build_seconds = time.monotonic() - began_seconds
    undisturbed = checksums(tmp_path / "undisturbed")

    rng = np.random.default_rng(kills)
    out = tmp_path / "out"
    for _ in range(kills):
        process = start(*flags, "--out", out)
        time.sleep(rng.uniform(0.1, 0.9) * build_seconds)
        process.kill()
        process.communicate(timeout=60)
        left = checksums(out) if out.exists() else {}
        complete = {name for name in left if name.endswith((".tar", "dataset.json", "rejected.jsonl"))}
        assert {name: left[name] for name in complete} == {name: undisturbed[name] for name in complete}
        is_finished = any(name.endswith("dataset.json") for name in left)
        if is_finished:  # nothing would be left for the next build
            shutil.rmtree(out)
    shard(*flags, "--out", out)
    assert checksums(out) == undisturbed
