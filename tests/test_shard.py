"""Shard building through its real command line."""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path

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
    write_clip,
    write_csv,
)

from asrscale.data.index import read_index
from asrscale.speech import decoding, pcm

SHARED = ROOT.parent / "shared/data"


def test_a_build_from_end_to_end(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = shard("--csv", corpus, "--out", out, "--shard_utterances", 5)
    index = read_index([str(out / "train"), str(out / "valid")])
    assert len(index) == 23
    assert rejected(out) == []
    assert len(read_index([str(out / "train")]).shards) == -(-len(read_index([str(out / "train")])) // 5)

    lines = corpus.read_text().splitlines()
    for i in range(len(index)):
        path = index.shards[index.shard_ids[i]]
        with open(path, "rb") as file:
            file.seek(index.offsets[i])
            payload = file.read(index.sizes[i])
        assert zlib.crc32(payload) == index.crc32[i]
        samples = decoding.decode_payload(payload)
        assert len(samples) == index.num_samples[i]
        with tarfile.open(path) as tar:
            key = index.keys[i].as_py()
            flac, text, about_json = (read_member(tar, f"{key}.{name}") for name in ("flac", "txt", "json"))
        assert flac == payload
        assert text.decode() == index.texts[i].as_py()
        about = json.loads(about_json)
        name, sentence, votes, speaker = lines[int(key.rpartition("-")[2]) - 1].split(",")
        assert index.texts[i].as_py() == sentence.lower().removesuffix("!")
        assert (about["source"], about["audio"], about["up_votes"]) == (str(corpus), name, votes)
        assert about["speaker"] == index.speakers[i].as_py() == (speaker or None)
        waveform, rate = decoding.decode(corpus.parent / name, 20)
        assert np.array_equal(pcm.to_pcm16(pcm.resample(waveform, rate)), samples)

    dataset = json.loads((out / "train/dataset.json").read_text())
    train = read_index([str(out / "train")])
    assert dataset["utterances"] == len(train) == sum(part["utterances"] for part in dataset["shards"])
    assert dataset["hours"] == pytest.approx(train.hours)
    assert dataset["characters"]["s"] == sum(text.count("s") for text in train.texts.to_pylist())
    for part in dataset["shards"]:
        data = (out / "train" / part["file"]).read_bytes()
        assert (part["bytes"], part["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())

    assert f"{len(train)} utterances" in done.stdout
    assert "are in train too" not in done.stdout
    assert "23/23 clips" in done.stderr


def test_a_killed_build_goes_on_shard_by_shard_to_the_same_bytes(tmp_path: Path) -> None:
    flags = ("--csv", long_corpus(tmp_path, 40), "--valid_fraction", 0, "--workers", 1, "--shard_utterances", 4)
    shard(*flags, "--out", tmp_path / "undisturbed")
    out, folder = tmp_path / "out", tmp_path / "out/train"
    process = start_build(*flags, "--out", out, until=lambda: len(list(folder.glob("*.part"))) >= 4)
    process.kill()
    process.communicate(timeout=120)
    finished = sorted(path.with_suffix("") for path in folder.glob("*.part"))
    assert 4 <= len(finished) < 10 and not (folder / "dataset.json").exists()
    damaged, torn, lost, *kept = finished
    damaged.write_bytes(damaged.read_bytes().replace(b"sentence", b"sEntence"))
    Path(f"{torn}.part").write_text('{"made_of": "')
    lost.unlink()
    (folder / "train-000099.tar").write_bytes(b"of an interrupted build with smaller shards")
    before = {path: path.stat().st_mtime_ns for path in kept}
    shard(*flags, "--out", out)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert checksums(out) == checksums(tmp_path / "undisturbed")


def test_what_an_interrupted_build_with_other_options_left_is_not_used(tmp_path: Path) -> None:
    flags = ("--csv", long_corpus(tmp_path, 40), "--valid_fraction", 0, "--workers", 1, "--shard_utterances", 4)
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
    out = ("--out", tmp_path / "out", "--valid_fraction", 0)
    absent = tmp_path / "absent"
    for flags, words in (
        (("--csv", absent, *out), f"{absent}: No such file"),
        (("--csv", empty, *out), f"{empty} line 1: needs one column 'filename'"),
        (("--csv", good, *out, "--shards", 3), "unknown flag --shards"),
        (("--csv", good, *out, "--audio_root", absent), f"no file {absent / 'a.wav'} (2 of 2 "),
        (("--csv", good, *out, "--audio_root", "/usr"), "set --audio_root to the folder that 'a.wav' is in"),
    ):
        line = refusal(*flags)
        assert line.startswith("error: ") and words in line, line
    assert not (tmp_path / "out").exists()


def test_it_starts_without_torch() -> None:
    code = "import sys, asrscale.shard; sys.exit('torch' in sys.modules or 'webdataset' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")
def test_real_recordings(tmp_path: Path) -> None:
    done = shard("--csv", f"dev={SHARED}/orders/cv-valid-dev.csv", "--out", tmp_path / "out")
    index = read_index([str(tmp_path / "out/dev")])
    assert len(index) == 50
    assert "rejected: 0 of 50 rows" in done.stdout
    assert "sharding: 50/50 clips" in done.stderr and len(done.stderr.splitlines()) == 1  # mpg123 kept quiet


def test_an_unknown_verb(tmp_path: Path) -> None:
    assert "no verb 'biuld': choose one of build, verify" in refusal("biuld", "--out", tmp_path)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_to_the_same_bytes(tmp_path: Path, kills: int) -> None:
    table = long_corpus(tmp_path, 60)
    flags = ("--csv", table, "--valid_fraction", 0.3, "--workers", 2, "--shard_utterances", 5)
    began = time.monotonic()
    shard(*flags, "--out", tmp_path / "undisturbed")
    seconds, whole = time.monotonic() - began, checksums(tmp_path / "undisturbed")
    rng, out = np.random.default_rng(kills), tmp_path / "out"
    for _ in range(kills):
        process = start(*flags, "--out", out)
        time.sleep(rng.uniform(0.1, 0.9) * seconds)
        process.kill()
        process.communicate(timeout=60)
        found = checksums(out) if out.exists() else {}
        for name in found:  # whatever has its name is whole
            assert not name.endswith((".tar", "dataset.json", "rejected.jsonl")) or found[name] == whole[name]
        if any(name.endswith("dataset.json") for name in found):  # done: the next one begins anew
            shutil.rmtree(out)
    shard(*flags, "--out", out)
    assert checksums(out) == whole
